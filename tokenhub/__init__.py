"""TokenHub: one LLM gateway that decides, fails over, accounts and explains.

The rooms, in the direction a request walks them, are drawn in `docs/architecture.md`. Importing any
module of this package starts nothing: no thread, no connection, no read of the environment.
"""

import os

__version__ = "0.1.0"

# numpy's linear algebra, which nothing here uses, starts a thread for every core when it is imported, also in the
# master, before it forks. It looks here once.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # noqa: TID251
