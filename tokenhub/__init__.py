"""TokenHub: one LLM gateway that decides, fails over, accounts and explains.

The rooms, in the direction a request walks them, are drawn in `docs/architecture.md`. Importing any
module of this package starts nothing: no thread, no connection, no read of the environment.
"""

__version__ = "0.1.0"
