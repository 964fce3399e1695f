"""Providers: everything that speaks to an upstream. Nothing here decides which one is asked, or what it costs.

Vocabulary: a *client* speaks one provider's protocol (`ports.ProviderClient`). Its *wire* is pure: the inner
language to that protocol's JSON and back. Its *failures* turn what the upstream said into a `ProviderError`. An
*exchange* is one request and its open response; an *event* is one SSE event of it; the *registry* holds a worker's
clients. `http.py`, with the adapters under it, is the only place that sees an HTTP library; providers use its exchange.

To add a provider type, touch these files:
  1. `domain/catalog.py`: its name in PROVIDER_TYPES
  2. `providers/<type>/client.py`: a `ProviderClient`: address, headers, deadlines; never raises or logs the key
  3. `providers/<type>/wire.py`: pure: ChatCommand -> request JSON; response JSON -> Reply; event -> Chunk; usage
  4. `providers/<type>/failures.py`: status and typed code -> one of the five ProviderError leaves
  5. `providers/registry.py`: a row in TYPES
  6. `tests/unit/providers/<type>/`: round trips, odd usage, a table of real error bodies
"""
