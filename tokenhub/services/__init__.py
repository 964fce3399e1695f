"""Use cases over the domain and its ports. No Flask, no SQL, no HTTP client: those are adapters."""
