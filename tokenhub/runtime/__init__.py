"""Where adapters meet: building a worker's parts, starting its jobs, and what the master does before and beside it."""
