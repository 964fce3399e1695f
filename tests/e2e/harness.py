"""Starts a real gunicorn of the product in folders of its own, and speaks to it. Stops it by process id."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.factories import JsonObject

ROOT = Path(__file__).resolve().parents[2]
GUNICORN = Path(sys.executable).parent / "gunicorn"
START_S, STOP_S = 30, 20
HOLDS_WITHIN_S = 1.0
"""What an admin changes holds on all workers within this time: promised."""


@dataclass(frozen=True)
class Answer:
    """One HTTP response, read to its end."""

    status: int
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> JsonObject:
        """The error object of an error body."""
        found: JsonObject = self.json()["error"]
        return found

    @property
    def decision_id(self) -> str:
        return self.headers["x-tokenhub-decision-id"]


@dataclass(frozen=True)
class Key:
    """An API key made for a test."""

    id: str
    secret: str


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Gateway:
    """A running TokenHub. `folder` is empty, or was used by one that has ended; `credentials` None writes no file;
    `arguments` are gunicorn's."""

    def __init__(
        self,
        folder: Path,
        credentials: JsonObject | None,
        env: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(mode=0o700, exist_ok=True)
        self._arguments = list(arguments)
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        self.log_path = folder / "log"
        self._log_checked = 0
        secret_folder = folder / "credentials"
        secret_folder.mkdir(mode=0o700, exist_ok=True)
        self.credentials_file = secret_folder / "credentials"
        self._named: dict[str, str] = {}
        if credentials is not None:
            self.credentials_file.touch(mode=0o600)
            self.credentials_file.write_text(json.dumps(credentials))
            self._named = {"TOKENHUB_CREDENTIALS_FILE": str(self.credentials_file)}
        self._environment = self._settings() | self._named | dict(env or {})
        self.start()

    def _settings(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "TOKENHUB_LISTEN_ADDR": self.host,
            "TOKENHUB_DATA_DIR": str(self.data),
            "TOKENHUB_DB_DSN": str(self.data / "tokenhub.sqlite"),
            "TOKENHUB_WORKERS": "2",
            "TOKENHUB_RATE_LIMIT_RPS": "100000",
            "TOKENHUB_RATE_LIMIT_BURST": "100000",
            "TOKENHUB_ENV": "development",
        }

    # the process -------------------------------------------------------

    def start(self) -> None:
        """Start gunicorn and wait until every worker serves."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [str(GUNICORN), "-c", "gunicorn.conf.py", *self._arguments, "wsgi:application"],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        self.admin_token = (self.data / "admin-token").read_text().strip()
        self.first_key = (self.data / "first-api-key").read_text().strip()

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + START_S
        wanted = int(self._environment["TOKENHUB_WORKERS"])
        while True:
            assert self.process.poll() is None, f"it exited with {self.process.returncode}:\n{self.log()[-4000:]}"
            try:
                if self.get("/readyz").status == 200 and len(self.worker_pids()) == wanted:
                    if all(answer.status == 200 for answer in self.on_each_worker("GET", "/readyz", key="")):
                        return
            except OSError:
                pass
            assert time.monotonic() < until, f"not ready after {START_S} s:\n{self.log()[-4000:]}"
            time.sleep(0.05)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not do."""
        pids = self.worker_pids()
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            for pid in pids:
                with _no_such_process():
                    os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"it did not stop within {STOP_S} s:\n{self.log()[-4000:]}") from None

    def log(self) -> str:
        """Everything it has logged."""
        return self.log_path.read_text(errors="replace")

    def fail_on_new_tracebacks(self) -> None:
        """AssertionError where the log has a traceback that was not there at the last call."""
        fresh = self.log()[self._log_checked :]
        self._log_checked += len(fresh)
        at = fresh.find("Traceback")
        assert at < 0, f"a traceback in the log:\n{fresh[max(0, at - 500) : at + 4000]}"

    # its workers -------------------------------------------------------

    def worker_pids(self) -> list[int]:
        """The workers' process ids, in order."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            return sorted(int(pid) for pid in children.read_text().split())
        except OSError:
            return []

    def connect(self) -> http.client.HTTPConnection:
        """A keep-alive connection to whichever worker takes it."""
        return http.client.HTTPConnection(self.host, timeout=60)

    @contextmanager
    def each_worker(self) -> Iterator[dict[int, http.client.HTTPConnection]]:
        """One open connection to every worker. The others are held still while one of them takes its own."""
        pids = self.worker_pids()
        connections: dict[int, http.client.HTTPConnection] = {}
        try:
            for pid in pids:
                connections[pid] = self.connect()
                with _stopped([other for other in pids if other != pid]):
                    exchange(connections[pid], "GET", "/healthz")
            yield connections
        finally:
            for connection in connections.values():
                connection.close()

    def on_each_worker(self, method: str, path: str, **arguments: Any) -> list[Answer]:
        """The same request, put to every worker once."""
        with self.each_worker() as connections:
            return [self.ask(method, path, connection=each, **arguments) for each in connections.values()]

    # requests ----------------------------------------------------------

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        connection: http.client.HTTPConnection | None = None,
    ) -> Answer:
        """Send a request with a key (the first one; "" for none). Bytes are sent as they are, else JSON is made."""
        sent = {"content-type": "application/json"} if body is not None else {}
        bearer = self.first_key if key is None else key
        if bearer:
            sent["authorization"] = f"Bearer {bearer}"
        sent |= dict(headers or {})
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        own = connection is None
        connection = connection or self.connect()
        try:
            return exchange(connection, method, path, data, sent)
        finally:
            if own:
                connection.close()

    def get(self, path: str, **arguments: Any) -> Answer:
        """GET, without a key unless one is given."""
        return self.ask("GET", path, key=arguments.pop("key", ""), **arguments)

    def chat(self, body: JsonObject, **arguments: Any) -> Answer:
        """POST to the OpenAI route."""
        return self.ask("POST", "/v1/chat/completions", body, **arguments)

    def receipt(self, decision_id: str, key: str | None = None) -> JsonObject:
        """A receipt, which must be there."""
        answer = self.get(f"/v1/decisions/{decision_id}", key=key or self.first_key)
        assert answer.status == 200, answer
        found: JsonObject = answer.json()
        return found

    # administration ----------------------------------------------------

    def admin(self, method: str, path: str, body: object = None, **arguments: Any) -> Answer:
        """A request to /admin/v1 with the admin token."""
        return self.ask(method, f"/admin/v1{path}", body, key=self.admin_token, **arguments)

    def new_key(self, name: str = "test", **fields: Any) -> Key:
        """Make an API key."""
        answer = self.admin("POST", "/apikeys", {"name": name, **fields})
        assert answer.status in (200, 201), answer
        made = answer.json()
        return Key(made["id"], made["key"])

    def logs(self, key: Key) -> list[JsonObject]:
        """The request log's rows of one key, newest first (the last 1,000 rows are looked at)."""
        rows = self.admin("GET", "/logs?limit=1000").json()["logs"]
        return [row for row in rows if row.get("key_id") == key.id]


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request and its whole answer on this connection; leaves it open."""
    connection.request(method, path, body, dict(headers or {}))
    with connection.getresponse() as response:
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())


@contextmanager
def _stopped(pids: list[int]) -> Iterator[None]:
    """These processes do not run meanwhile."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with _no_such_process():
                os.kill(pid, signal.SIGCONT)


@contextmanager
def _no_such_process() -> Iterator[None]:
    try:
        yield
    except ProcessLookupError:
        pass


def events(stream: bytes) -> list[Any]:
    """The events of a stream in OpenAI's exact form: parsed JSON, and "[DONE]" as it is. AssertionError for any other
    form."""
    text = stream.decode()
    assert text.endswith("\n\n"), text[-200:]
    found = []
    for block in text[:-2].split("\n\n"):
        if block.startswith(":"):
            continue
        assert block.startswith("data: ") and "\n" not in block, block[:200]
        data = block.removeprefix("data: ")
        found.append(data if data == "[DONE]" else json.loads(data))
    return found


def said(found: list[Any]) -> str:
    """The text of a stream's events."""
    return "".join(
        choice["delta"].get("content") or ""
        for event in found
        if isinstance(event, dict)
        for choice in event.get("choices", [])
    )


def until(condition: Any, within_s: float = 5.0) -> None:
    """Wait for something that is not at once; AssertionError if it never comes."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not so within {within_s} s"
        time.sleep(0.02)
