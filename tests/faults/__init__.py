"""The fault rows of start, reload, stop and death: what is done to a running server, and what must hold.

Each row is a function that takes a `Site` and how much of it to do; `tests/e2e/` calls it in its fast form,
`python -m tests.faults` with its full figures.
"""
