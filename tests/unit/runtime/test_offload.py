"""Work that blocks leaves the hub alone, and comes back as if it had been done here."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from tokenhub.runtime.offload import ThreadOffload


def test_unpatched_work_is_done_in_the_callers_thread() -> None:
    assert ThreadOffload(1)(threading.get_ident) == threading.get_ident()


PATCHED = """
from gevent import monkey; monkey.patch_all()
import contextvars
import gevent
from tokenhub.runtime.offload import ThreadOffload

told = contextvars.ContextVar("told", default="")
real_thread = monkey.get_original("threading", "get_ident")
offload = ThreadOffload(1)
told.set("context")
assert offload(told.get) == "context"
assert offload(real_thread) != real_thread(), "work must run in a real thread"
assert gevent.get_hub().threadpool.size == 0, "gevent's own pool must stay free"
try:
    offload(lambda: 1 / 0)
except ZeroDivisionError:
    print("raised here")
"""


def test_under_gevent_it_runs_in_a_real_thread_and_raises_here() -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", PATCHED], cwd=root, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("raised here\n", "")
