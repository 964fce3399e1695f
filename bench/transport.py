"""CPU of one upstream call: our transport against requests' own adapter, on the same loopback server.

`python bench/transport.py [--calls 3000] [--rounds 5]`. Client and server are pinned to a core each (where there are
two); the adapters run in turn, each in a fresh patched process, and the medians are printed. Bounded: about a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

CHUNKS = 100
HEAD = b"".join(
    (
        b"HTTP/1.1 200 OK\r\n",
        b"Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n",
        b"Content-Type: application/json\r\n",
        b"x-request-id: req_0123456789abcdef\r\n",
        b"openai-processing-ms: 12\r\n",
        b"openai-version: 2020-10-01\r\n",
        b"x-ratelimit-limit-requests: 10000\r\n",
        b"x-ratelimit-remaining-requests: 9999\r\n",
        b"Server: bench\r\n",
    )
)
WHOLE = HEAD + b"Content-Length: 700\r\n\r\n" + b"a" * 700
EVENT = b'data: {"id":"x","choices":[{"delta":{"content":"word"}}]}' + b" " * 150 + b"\n\n"


def serve(conn: socket.socket) -> None:
    """Answer the requests of one connection."""
    while True:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = conn.recv(65536)
            if not piece:
                return
            data += piece
        if b"/stream" in data[:40]:
            conn.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(CHUNKS):
                time.sleep(0.0002)  # So that chunks come one by one, as tokens do.
                conn.sendall(b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
            conn.sendall(b"0\r\n\r\n")
        else:
            conn.sendall(WHOLE)


def server() -> None:
    """Print a port and answer on it."""
    pin(-1)
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        conn, _ = listener.accept()
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(conn,), daemon=True).start()


def pin(core: int) -> None:
    """Keep this process on one core, counted as an index into a list."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core]})


def client(adapter: str, port: int, calls: int) -> None:
    """Print CPU microseconds per whole call and per streamed chunk."""
    from gevent import monkey

    monkey.patch_all()
    import requests
    from requests.adapters import HTTPAdapter
    from requests.structures import CaseInsensitiveDict

    from tokenhub.domain.ports import Deadlines
    from tokenhub.providers.transport import Transport

    pin(0)
    is_ours = adapter == "ours"
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", Transport() if is_ours else HTTPAdapter())
    timeout = Deadlines(10.0, 30.0, 30.0, 30.0, 60.0) if is_ours else (10.0, 30.0)
    body = b"{" + b" " * 1000 + b"}"
    fields = {"Authorization": "Bearer x", "Content-Type": "application/json", "Accept-Encoding": "identity"}

    def call(path: str) -> int:
        request = requests.PreparedRequest()
        request.method, request.url, request.body = "POST", f"http://127.0.0.1:{port}{path}", body
        request.headers = CaseInsensitiveDict({**fields, "Content-Length": str(len(body))})
        request.hooks = {"response": []}
        response = session.send(
            request, stream=True, timeout=timeout, verify=True, cert=None, proxies={}, allow_redirects=False
        )
        raw, pieces = response.raw, 0
        while raw.read_some(30.0) if is_ours else raw.read1(65536):
            pieces += 1
        response.close()
        return pieces

    def cost(path: str, times: int) -> tuple[float, int]:
        pieces, began = 0, time.process_time()
        for _ in range(times):
            pieces += call(path)
        return (time.process_time() - began) * 1e6, pieces

    cost("/whole", 200)
    whole, _ = cost("/whole", calls)
    streams = max(calls // 20, 1)
    stream, pieces = cost("/stream", streams)
    print(json.dumps({"call": whole / calls, "chunk": (stream - streams * whole / calls) / pieces}))


def compare(calls: int, rounds: int) -> None:
    """Run both adapters in turn and print the medians."""
    here = [sys.executable, str(Path(__file__).resolve())]
    found: dict[str, list[dict[str, float]]] = {"stock": [], "ours": []}
    with subprocess.Popen([*here, "--role", "server"], stdout=subprocess.PIPE, text=True) as upstream:
        port = upstream.stdout.readline().strip() if upstream.stdout else ""
        for _ in range(rounds):
            for adapter, results in found.items():
                command = [*here, "--role", adapter, "--port", port, "--calls", str(calls)]
                results.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        upstream.kill()
    for figure in ("call", "chunk"):
        stock, ours = (statistics.median(each[figure] for each in found[name]) for name in ("stock", "ours"))
        spread = ", ".join(
            f"{name} {min(each[figure] for each in results):.1f}..{max(each[figure] for each in results):.1f}"
            for name, results in found.items()
        )
        print(f"CPU us per {figure}: requests' own {stock:.1f}, ours {ours:.1f}, ratio {ours / stock:.2f} ({spread})")


def main() -> None:
    """Read the arguments and do what they say."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--role", default="")
    parser.add_argument("--port", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.role == "server":
        server()
    elif chosen.role:
        client(chosen.role, chosen.port, chosen.calls)
    else:
        compare(chosen.calls, chosen.rounds)


if __name__ == "__main__":
    main()
