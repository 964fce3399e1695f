"""The hostile server, and a transport that has to leave nothing behind."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
import requests

from tokenhub.domain.ports import Deadlines
from tokenhub.providers.connections import client_tls
from tokenhub.providers.transport import Transport


class Hostile:
    """The running server: its addresses and what it counted."""

    def __init__(self, ports: dict[str, int], ca: str) -> None:
        self.ports = ports
        self.ca = ca

    def url(self, path: str, port: str = "plain") -> str:
        scheme = "http" if port in ("plain", "reset", "hang", "full") else "https"
        return f"{scheme}://127.0.0.1:{self.ports[port]}{path}"

    def counts(self) -> dict[str, Any]:
        found: dict[str, Any] = requests.get(self.url("/counts"), timeout=5).json()
        return found

    def open_connections(self, expected: int) -> int:
        """How many connections it still has, given two seconds to notice."""
        for _ in range(200):
            found = int(self.counts()["open"])
            if found == expected:
                break
            gevent.sleep(0.01)  # It is the hub that closes a socket somebody waited for.
        return found


@pytest.fixture(scope="session")
def hostile() -> Iterator[Hostile]:
    program = Path(__file__).with_name("server.py")
    with subprocess.Popen(
        [sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield Hostile(**json.loads(process.stdout.readline()))
        process.kill()


def deadlines(**changes: float) -> Deadlines:
    values = {"connect_s": 2.0, "headers_s": 2.0, "first_token_s": 2.0, "between_chunks_s": 2.0, "total_s": 5.0}
    return Deadlines(**{**values, **changes})


def live_greenlets() -> int:
    gc.collect()
    return sum(isinstance(each, gevent.Greenlet) and not each.dead for each in gc.get_objects())


class Client:
    """Sends through one transport, as providers/http.py does."""

    def __init__(self, hostile: Hostile, **options: Any) -> None:
        tls = client_tls(hostile.ca)
        self.hostile = hostile
        self.transport = Transport(**{"tls": tls, "pool_size": 16, **options})
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Accept-Encoding"] = "identity"
        for prefix in ("http://", "https://"):
            self.session.mount(prefix, self.transport)

    def post(
        self, path: str, body: bytes = b"{}", *, port: str = "plain", name: str = "", url: str = "", **limits: float
    ) -> requests.Response:
        headers = {"x-id": name} if name else {}
        request = requests.Request("POST", url or self.hostile.url(path, port), headers, data=body)
        prepared = self.session.prepare_request(request)
        return self.session.send(prepared, stream=True, timeout=deadlines(**limits), allow_redirects=False)

    def whole(self, path: str, body: bytes = b"{}", **options: Any) -> tuple[int, bytes]:
        response = self.post(path, body, **options)
        return response.status_code, read_all(response)


def read_all(response: requests.Response, timeout_s: float = 2.0) -> bytes:
    pieces = []
    try:
        while piece := response.raw.read_some(timeout_s):
            pieces.append(piece)
    finally:
        response.close()
    return b"".join(pieces)


@pytest.fixture
def client(hostile: Hostile) -> Iterator[Client]:
    """A client; afterwards the server has lost all its connections, and no greenlet is left."""
    gevent.sleep(0)
    before = live_greenlets()
    found = Client(hostile)
    yield found
    idle = sum(len(pool._idle) for pool in found.transport._pools.values())
    taken = [pool._slots.counter for pool in found.transport._pools.values()]
    assert taken == [16] * len(taken), "every slot was given back"
    found.transport.close()
    assert hostile.open_connections(0) == 0, f"{idle} were idle"
    gevent.sleep(0)
    assert live_greenlets() <= before
