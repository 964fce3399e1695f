"""A scripted upstream that speaks OpenAI's and Anthropic's protocols: its own process, standard library only, made to
misbehave on purpose.

    python -m tests.upstream --port 9999

It answers `POST .../chat/completions` and `POST .../messages` by model name; the names are listed by `--help` and in
`scripts.py`. A conversation that the real API would refuse is refused here too, whatever the script. What it says and
the usage it reports are functions of the request alone (`answers.py`), so its ledger (`GET /_ledger`, reset by
`POST /_ledger/reset`) can be compared with a gateway's books to the token. `process.py` starts it for tests.

Nothing of the product is imported here.
"""
