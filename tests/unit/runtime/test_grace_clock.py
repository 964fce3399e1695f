"""gunicorn's own waiting, tried in a process of its own whose gunicorn is changed by it."""

from __future__ import annotations

import subprocess
import sys

TRY = """
import time
from gunicorn import arbiter
from gunicorn.workers import ggevent
from tokenhub.runtime import grace_clock

assert arbiter.time is time and ggevent.time is time, "gunicorn reads its clock in another way now"
grace_clock.install()
time.time = lambda: 0.0  # The wall clock is set back, and stands.
for module in (arbiter, ggevent):
    before = module.time.time()
    module.time.sleep(0.01)
    assert 0.01 <= module.time.time() - before < 1
    assert module.time.monotonic is time.monotonic
"""


def test_the_grace_does_not_follow_the_wall_clock() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", TRY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
