"""F32, F33, F35, F57, F58 and the other starts that must fail: one clear line, exit code 2, no traceback."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import apsw

from tests.e2e.harness import ROOT, until
from tests.factories import chat_body
from tests.faults.refusals import begin, copied, data_folder, prepared, refusal, settings_for
from tests.faults.site import Books, Site, Skipped, fill, small_disk
from tokenhub.state import schema
from tokenhub.storage.database import journal_mode

OLD_PYTHONS = ("python3.10", "python3.9", "python3.8")


# ---------------------------------------------------------------- what can be wrong


def _port_in_use(site: Site) -> Iterator[tuple[str, str]]:
    data = data_folder(site, "port")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = refusal(begin(settings_for(data, LISTEN_ADDR=f"127.0.0.1:{port}")), 4)
        yield told, f"port {port} of 127.0.0.1 is in use"
    assert not data.exists(), "the data folder was touched before the port was tried"


def _unwritable_folder(site: Site) -> Iterator[tuple[str, str]]:
    data = copied(site, "unwritable")
    data.chmod(0o500)
    yield refusal(begin(settings_for(data), unprivileged=True), 4), "the folder cannot be written to"
    data.chmod(0o700)
    parent = data_folder(site, "unwritable-parent").parent
    parent.chmod(0o500)
    told = refusal(begin(settings_for(parent / "data"), unprivileged=True), 4)
    yield told, "the folder cannot be made: Permission denied"
    parent.chmod(0o700)


def _folder_of_another(site: Site) -> Iterator[tuple[str, str]]:
    if os.geteuid() != 0:
        raise Skipped("only root can give a folder away")
    data = copied(site, "another")
    os.chown(data, 65534, 65534)
    yield refusal(begin(settings_for(data)), 4), "belongs to user 65534, but we run as 0"


def _read_only_file(site: Site) -> Iterator[tuple[str, str]]:
    for name, words in (("tokenhub.sqlite", "readonly database"), ("state.sqlite", "readonly database")):
        data = copied(site, f"read-only-{name}")
        (data / name).chmod(0o400)
        yield refusal(begin(settings_for(data), unprivileged=True), 4), words


def _read_only_file_system(site: Site) -> Iterator[tuple[str, str]]:
    with small_disk(site.folder / "read-only-disk", 8) as disk:
        shutil.copytree(prepared(), disk / "data")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        yield refusal(begin(settings_for(disk / "data")), 4), "the folder cannot be written to"


def _full_disk(site: Site) -> Iterator[tuple[str, str]]:
    with small_disk(site.folder / "full-disk", 8) as disk:
        shutil.copytree(prepared(), disk / "data")
        fill(disk / "filler")
        yield refusal(begin(settings_for(disk / "data")), 4), "disk is full"


def _pages(path: Path) -> tuple[int, list[int]]:
    """The size of a page, and where the header and each table that holds something begin, in bytes."""
    with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as file:
        size = file.execute("PRAGMA page_size").fetchall()[0][0]
        roots = file.execute("SELECT rootpage FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    return size, [0, *((root - 1) * size for (root,) in roots)]


def _corrupt_page(site: Site, most: int = 100) -> Iterator[tuple[str, str]]:
    for name in ("tokenhub.sqlite", "state.sqlite"):
        size, places = _pages(prepared() / name)
        for place in places[:most]:
            data = copied(site, f"corrupt-{name}-{place}")
            with (data / name).open("r+b") as file:
                file.seek(place)
                file.write(random.Random(place).randbytes(size))
            yield refusal(begin(settings_for(data))), "restore"


def _no_database(site: Site) -> Iterator[tuple[str, str]]:
    for name in ("tokenhub.sqlite", "state.sqlite"):
        data = copied(site, f"text-{name}")
        for leftover in data.glob(f"{name}-*"):
            leftover.unlink()
        (data / name).write_bytes(b"this is not a database, but it is long enough to be looked at\n" * 100)
        yield refusal(begin(settings_for(data))), "restore"


def _newer(site: Site) -> Iterator[tuple[str, str]]:
    data = copied(site, "newer-database")
    with contextlib.closing(sqlite3.connect(data / "tokenhub.sqlite")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    yield refusal(begin(settings_for(data))), "made by a newer TokenHub (schema 9999)"
    data = copied(site, "newer-state")
    state = apsw.Connection(str(data / "state.sqlite"))
    state.execute("UPDATE meta SET value = 9999 WHERE name = 'schema'")
    state.close()
    yield refusal(begin(settings_for(data))), f"its form is 9999, this TokenHub knows {schema.VERSION}"


def _weak_token(site: Site) -> Iterator[tuple[str, str]]:
    for token, words in (("", "it is set but empty"), ("fifteen-chars-x", "it is too short")):
        settings = settings_for(data_folder(site, f"token{len(token)}"), ENV="production", ADMIN_TOKEN=token)
        told = refusal(begin(settings), 4)
        assert not token or token not in told
        yield told, words


def _preload(site: Site) -> Iterator[tuple[str, str]]:
    yield refusal(begin(settings_for(data_folder(site, "preload")), "--preload")), "preload"


def _old_python(site: Site) -> Iterator[tuple[str, str]]:
    """An older Python gets no further than gunicorn.conf.py; gunicorn and gevent are stood in for."""
    python = next((found for name in OLD_PYTHONS if (found := _runs(name))), None)
    if python is None:
        raise Skipped(f"there is no older Python here ({', '.join(OLD_PYTHONS)})", is_excused=True)
    stub = site.folder / "stub"
    (stub / "gevent").mkdir(parents=True)
    (stub / "gevent" / "__init__.py").touch()
    (stub / "gevent" / "monkey.py").write_text("def patch_all(): pass\n")
    process = subprocess.Popen(
        [python, "-c", "import runpy; runpy.run_path('gunicorn.conf.py')"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(stub)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield refusal(process), "needs Python 3.11 or newer"


def _runs(name: str) -> str | None:
    """The path of a Python of this name that works, if there is one."""
    asked = [name, "-c", "import sys; print(sys.executable)"]
    with contextlib.suppress(OSError):
        done = subprocess.run(asked, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.strip()
    for path in sorted(Path(sys.base_prefix).parent.glob(f"{name.removeprefix('python')}*/bin/{name}")):
        return str(path)
    return None


CORRUPT = "a corrupt page"
Trouble = Callable[[Site], Iterator[tuple[str, str]]]
TROUBLES: Mapping[str, Trouble] = {
    "a port in use": _port_in_use,
    "an unwritable data folder": _unwritable_folder,
    "a data folder of another user": _folder_of_another,
    "a read-only database or state": _read_only_file,
    "a read-only file system": _read_only_file_system,
    CORRUPT: _corrupt_page,
    "a file that is no database": _no_database,
    "a full disk": _full_disk,
    "a newer schema": _newer,
    "a weak admin token": _weak_token,
    "--preload": _preload,
    "an older Python": _old_python,
}


def refused(site: Site, *, trouble: str, is_fast: bool = False) -> str:
    """Start with this trouble: told in one line that says these words."""
    prepared()
    count, slowest = 0, 0.0
    tries = _corrupt_page(site, most=2) if is_fast and trouble == CORRUPT else TROUBLES[trouble](site)
    while True:
        started = time.monotonic()
        try:
            told, words = next(tries)
        except StopIteration:
            break
        slowest, count = max(slowest, time.monotonic() - started), count + 1
        assert words in told, told
    assert count
    return f"{count} starts: one line each, exit code 2, at most {slowest:.1f} s"


# ---------------------------------------------------------------- journal mode, one server a folder, killed migrations


def the_journal_mode(site: Site) -> str:
    """The database's journal mode follows this Python's SQLite, also where the file comes in the other mode; the state
    is in WAL mode always."""
    wanted = journal_mode(sqlite3.sqlite_version_info).lower()
    data = site.folder / "modes" / "data"
    data.parent.mkdir()
    shutil.copytree(prepared(), data)
    found = set()
    for mode in ("WAL", "TRUNCATE"):
        with contextlib.closing(sqlite3.connect(data / "tokenhub.sqlite")) as database:
            assert database.execute(f"PRAGMA journal_mode={mode}").fetchall() == [(mode.lower(),)]
        gateway = site.gateway(folder=data.parent, WORKERS="1")
        gateway.chat(chat_body("ok"))
        until(lambda: not Books(data).outbox())
        found.add((data / "tokenhub.sqlite").read_bytes()[18])
        state = (data / "state.sqlite").read_bytes()[18]
        gateway.stop()
        assert state == 2
    assert found == {2 if wanted == "wal" else 1}, found
    ours = apsw.sqlite_lib_version()
    return f"SQLite {sqlite3.sqlite_version}: database {wanted}, whatever it was before; state (SQLite {ours}) wal"


def one_server_a_folder(site: Site, *, rounds: int, starts: int) -> str:
    """Several starts at once on one data folder: one serves, the others are told so. A later one too."""
    for number in range(rounds):
        data = data_folder(site, f"many{number}")
        processes = [begin(settings_for(data)) for _ in range(starts)]
        left = list(processes)
        until(lambda left=left: sum(p.poll() is None for p in left) == 1, 30)
        (winner,) = [process for process in processes if process.poll() is None]
        lines = [refusal(process) for process in processes if process is not winner]
        assert all("another TokenHub" in line for line in lines), lines
        late = refusal(begin(settings_for(data)), 5)
        assert str(winner.pid) in late, late
        Books(data).check()
        winner.terminate()
        told, _ = winner.communicate(timeout=30)
        assert winner.returncode == 0, told
        assert "TokenHub is ready" in told and "Traceback" not in told
    return f"{rounds} times {starts} starts at once: one served, {starts - 1} refused in one line; the next one too"


def killed_migrations(site: Site, *, rounds: int) -> str:
    """SIGKILL in the middle of the first migration: the old schema or the new one, and the next start is well."""
    halves = 0
    for number in range(rounds):
        data = data_folder(site, f"killed{number}")
        process = begin(settings_for(data))
        journal, database = data / "tokenhub.sqlite-journal", data / "tokenhub.sqlite"
        end = time.monotonic() + 20
        while not (journal.exists() or (database.exists() and database.stat().st_size)):
            assert time.monotonic() < end
        time.sleep(random.Random(number).uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        halves += _tables(database) == set()
        folder = data.parent
        gateway = site.gateway(folder=folder, WORKERS="1")
        assert gateway.chat(chat_body("ok")).status == 200
        Books(data).check()
        gateway.stop()
    return f"{rounds} kills: {halves} left the old schema, {rounds - halves} the new one; all {rounds} next starts well"


def _tables(database: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
