"""`scripts/setup` and `scripts/run` on machines that lack something. Nothing is installed here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").write_text("nothing\n")
    return tmp_path


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def make(checkout: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(checkout), **environ}
    return subprocess.run(["make", "-s", *arguments], cwd=checkout, env=environ, capture_output=True, text=True)


def test_a_python_without_ensurepip_is_told_with_what_to_install(checkout: Path) -> None:
    lacking = program(checkout / "python", f'case "$2" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"')
    done = make(checkout, "setup", f"PYTHON={lacking}")
    assert done.returncode == 2
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"apt install python{version}-venv" in done.stderr.splitlines()[0]
    assert not (checkout / ".venv").exists()


def test_an_old_python_is_told(checkout: Path) -> None:
    old = program(checkout / "python", "exit 1")
    done = make(checkout, "setup", f"PYTHON={old}")
    assert done.returncode == 2
    assert "needs Python 3.11 or newer" in done.stderr.splitlines()[0]


def test_nothing_is_done_twice_until_the_pins_change(checkout: Path) -> None:
    log = checkout / "log"
    script = f'case "$2" in *version_info*) exit 0;; esac; echo "$*" >>{log}'
    program(checkout / ".venv/bin/python", script)
    assert make(checkout, "setup").returncode == 0
    assert "--require-hashes -r requirements.txt" in log.read_text()
    log.unlink()
    assert make(checkout, "setup").returncode == 0
    assert not log.exists()
    (checkout / "requirements.txt").write_text("something else\n")
    assert make(checkout, "setup").returncode == 0
    assert log.exists()


def test_a_second_version_of_a_library_goes_into_a_folder_of_its_own(checkout: Path) -> None:
    log = checkout / "log"
    program(checkout / ".venv/bin/python", f'case "$2" in *version_info*) exit 0;; esac; echo "$*" >>{log}')
    (checkout / "second").mkdir()
    (checkout / "second" / "left over").touch()
    command = ["scripts/setup", "requirements.txt", ".venv/.stamp-second", "second"]
    subprocess.run(command, cwd=checkout, check=True, env={"PATH": "/usr/local/bin:/usr/bin:/bin"})
    assert "--require-hashes -r requirements.txt --target second" in log.read_text()
    assert not (checkout / "second" / "left over").exists() and (checkout / ".venv/.stamp-second").exists()


def test_run_sets_development_and_a_data_folder_unless_told_otherwise(checkout: Path) -> None:
    program(checkout / ".venv/bin/python", "exit 0")
    program(checkout / ".venv/bin/gunicorn", 'echo "$TOKENHUB_ENV $TOKENHUB_DATA_DIR $TOKENHUB_ENV_FILE"')

    def told(**environ: str) -> str:
        done = make(checkout, "run", **environ)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    assert told() == f"development {checkout}/.data "
    assert told(TOKENHUB_ENV="production", TOKENHUB_DATA_DIR="/x") == "production /x "
    (checkout / ".env").write_text("TOKENHUB_ENV=production\n#TOKENHUB_DATA_DIR=/x\n")
    assert told() == f" {checkout}/.data {checkout}/.env"
    (checkout / "other").write_text("export TOKENHUB_DATA_DIR = /y\n")
    assert told(TOKENHUB_ENV_FILE="other") == "development  other"
