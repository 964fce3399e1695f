"""The server's configuration, read in a process of its own because it patches the one that reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tokenhub.runtime import metrics_folder

ROOT = Path(__file__).resolve().parents[3]
READ = """
import json, runpy, sys
found = runpy.run_path("gunicorn.conf.py")
import os
print(json.dumps({
    "values": {name: value for name, value in found.items() if isinstance(value, (str, int, bool, type(None)))},
    "metrics": os.environ["PROMETHEUS_MULTIPROC_DIR"],
    "imported": "prometheus_client" in sys.modules or "flask" in sys.modules,
}))
"""


def run(tmp_path: Path, **given: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TOKENHUB_DATA_DIR": str(tmp_path / "data"), **given}
    return subprocess.run([sys.executable, "-c", READ], cwd=ROOT, env=environ, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["gunicorn.conf.py", "wsgi.py"])
def test_the_first_line_patches(name: str) -> None:
    assert (ROOT / name).read_text().startswith("from gevent import monkey; monkey.patch_all()")


def test_reading_it_sets_what_gunicorn_needs_and_starts_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, TOKENHUB_LISTEN_ADDR="[::1]:9", TOKENHUB_WORKERS="3")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    expected = {
        "bind": "[::1]:9",
        "workers": 3,
        "worker_class": "tokenhub.runtime.worker.Worker",
        "preload_app": False,
        "control_socket_disable": True,
        "forwarder_headers": "",
        "forwarded_allow_ips": "",
        "accesslog": None,
        "wsgi_app": "wsgi:application",
    }
    assert {name: found["values"][name] for name in expected} == expected
    assert found["metrics"] == str(metrics_folder.place(tmp_path / "data"))
    assert not found["imported"]
    assert not (tmp_path / "data").exists()


def test_a_bad_setting_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = run(tmp_path, TOKENHUB_WORKERS="many")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "tokenhub: TOKENHUB_WORKERS: 'many' cannot be used; accepted: 1 to 64\n"
