"""Providers: everything that speaks to an upstream. Nothing here decides which one is asked, or what it costs.

Vocabulary: a *client* speaks one provider's protocol (`ports.ProviderClient`). Its *wire* is pure: the inner
language to that protocol's JSON and back. Its *failures* turn what the upstream said into a `ProviderError`. An
*exchange* is one request and its open response; an *event* is one SSE event of it; the *registry* holds a worker's
clients. `http.py`, with the adapters under it, is the only place that sees an HTTP library; providers use its exchange.
What all clients do alike is in `calls.py` (refusals, streams with their deadlines) and `reading.py` (JSON, counts).

A caller of the provider's own dialect gets its bytes (`Reply.raw`, `Chunk.payload`); for every other one the wire says
the same in the inner language (`Reply.blocks`, `Chunk.deltas`) and names in `not_forwarded` what it had no place for.

To add a provider type, touch these files:
  1. `domain/catalog.py`: its name in PROVIDER_TYPES; in ONE_CHOICE_TYPES if its protocol has no `n`
  2. `providers/<type>/client.py`: a `ProviderClient`: address, headers, deadlines; never raises or logs the key
  3. `providers/<type>/wire.py`: pure: ChatCommand -> request JSON; response JSON -> Reply; event -> Chunk; usage.
     One that speaks a protocol that is here already says only where it differs, as vllm does (`openai.request.Manners`)
  4. `providers/<type>/failures.py`: status and typed code -> one of the five ProviderError leaves
  5. `providers/registry.py`: a row in TYPES
  6. `tests/unit/providers/<type>/`: round trips, odd usage, a table of real error bodies
"""
