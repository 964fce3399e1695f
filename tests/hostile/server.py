"""A provider that misbehaves: raw sockets, a thread per connection, in a process of its own.

`python -m tests.hostile.server` (or this file) prints one line of JSON with its ports and certificates, and runs until
its standard input is closed. The path chooses the misbehaviour (see SCRIPTS); the header `x-id` names a request, and
`GET /counts` gives how often each was received: with its whole body, or with its head where the body is not read.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
COUNTS: Counter[str] = Counter()
OPEN: set[int] = set()
"""Connections that the server still has open."""
LOCK = threading.Lock()


def reset(conn: socket.socket) -> None:
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


def hang(conn: socket.socket) -> None:
    """Say nothing more until the client goes."""
    try:
        while conn.recv(65536):
            pass
    except OSError:
        pass


def drip(conn: socket.socket, data: bytes, every_s: float) -> None:
    for index in range(len(data)):
        conn.sendall(data[index : index + 1])
        time.sleep(every_s)


def forever(conn: socket.socket, piece: bytes) -> None:
    while True:
        conn.sendall(piece)


def gzip_bomb(conn: socket.socket) -> None:
    packed = zlib.compressobj(wbits=31)
    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(64):
        piece = packed.compress(bytes(1 << 20)) + packed.flush(zlib.Z_SYNC_FLUSH)
        conn.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
    hang(conn)


def says(*pieces: bytes, then: Callable[[socket.socket], None] | None = None, pause_s: float = 0.02) -> Script:
    """Send the pieces with a pause between them, then keep the connection, or do what `then` does with it."""

    def script(conn: socket.socket) -> bool:
        for index, piece in enumerate(pieces):
            if index:
                time.sleep(pause_s)
            conn.sendall(piece)
        if then is not None:
            then(conn)
        return then is None

    return script


def does(act: Callable[[socket.socket], None]) -> Script:
    return says(then=act)


Script = Callable[[socket.socket], bool]
"""Answers one request; False when it is done with the connection."""

SCRIPTS: dict[str, Script] = {
    "/ok": says(OK),
    "/ok-then-close": says(OK, then=socket.socket.close),
    "/ok-then-close-soon": does(lambda c: (c.sendall(OK), time.sleep(0.001), c.close())[-1]),
    "/ok-then-reset": says(OK, then=reset),
    "/ok-late-garbage": says(OK, b"x" * 10),
    "/two-at-once": says(OK + OK.replace(b"ok", b"NO")),
    "/two-in-turn": says(OK, OK.replace(b"ok", b"NO")),
    "/chunks": says(CHUNKED + b"3\r\none\r\n", b"3;x=y\r\ntwo\r\n0\r\nTrailer: a\r\n\r\n"),
    "/until-close": says(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall ", b"of it", then=socket.socket.close),
    "/until-reset": says(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall ", b"of it", then=reset),
    "/no-content": says(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "/redirect": says(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 2\r\n\r\nno"),
    "/silent": does(hang),
    "/close": does(socket.socket.close),
    "/drip-head": does(lambda c: drip(c, OK, 0.1)),
    "/drip-body": does(lambda c: drip(c, CHUNKED + b"40\r\n" + b"a" * 64, 0.02)),
    "/pause": says(CHUNKED + b"3\r\none\r\n", b"3\r\ntwo\r\n0\r\n\r\n", pause_s=0.4),
    "/silent-body": says(CHUNKED + b"3\r\none\r\n", then=hang),
    "/reset-no-answer": does(reset),
    "/reset-in-status": says(b"HTTP/1.", then=reset),
    "/reset-in-head": says(b"HTTP/1.1 200 OK\r\nContent-Le", then=reset),
    "/reset-after-head": says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", then=reset),
    "/reset-in-body": says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", then=reset),
    "/reset-in-chunk": says(CHUNKED + b"5\r\nab", then=reset),
    "/cut-head": says(b"HTTP/1.1 200 OK\r\nContent-Le", then=socket.socket.close),
    "/cut-length": says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", then=socket.socket.close),
    "/cut-chunk": says(CHUNKED + b"5\r\nab", then=socket.socket.close),
    "/cut-between-chunks": says(CHUNKED + b"2\r\nab\r\n", then=socket.socket.close),
    "/http09": says(b"<html>hello</html>", then=socket.socket.close),
    "/http09-line": says(b"HTTP/0.9 200 OK\r\n\r\nhello", then=socket.socket.close),
    "/http10": says(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", then=socket.socket.close),
    "/http2": says(b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    "/upgrade": says(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + OK),
    "/header-forever": says(b"HTTP/1.1 200 OK\r\nX: ", then=lambda c: forever(c, b"a" * 4096)),
    "/headers-forever": says(b"HTTP/1.1 200 OK\r\n", then=lambda c: forever(c, b"A: b\r\n" * 50)),
    "/reason-forever": says(b"HTTP/1.1 200 ", then=lambda c: forever(c, b"a" * 4096)),
    "/many-headers": says(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 257 + b"Content-Length: 0\r\n\r\n"),
    "/chunk-line-forever": says(CHUNKED + b"5;", then=lambda c: forever(c, b"a" * 4096)),
    "/chunk-size-forever": says(CHUNKED, then=lambda c: forever(c, b"0" * 4096)),
    "/trailers-forever": says(CHUNKED + b"2\r\nok\r\n0\r\n", then=lambda c: forever(c, b"A: b\r\n" * 50)),
    "/chunk-size-huge": says(CHUNKED + b"fffffffffffffffff\r\nab"),
    "/chunk-size-negative": says(CHUNKED + b"-2\r\nab"),
    "/length-negative": says(b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nab"),
    "/length-word": says(b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nab"),
    "/length-huge": says(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nab"),
    "/length-twice": says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
    "/length-and-chunked": says(
        CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n") + b"2\r\nok\r\n0\r\n\r\n"
    ),
    "/gzip-coding": says(CHUNKED.replace(b"chunked", b"gzip, chunked") + b"2\r\nok\r\n0\r\n\r\n"),
    "/folded-header": says(b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n"),
    "/bare-lf": says(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    "/interim": says(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\n" + OK),
    "/interim-flood": does(lambda c: forever(c, b"HTTP/1.1 100 Continue\r\n\r\n")),
    "/interim-only": says(b"HTTP/1.1 100 Continue\r\n\r\n", then=socket.socket.close),
    "/gzip-bomb": does(gzip_bomb),
    "/endless": says(CHUNKED, then=lambda c: forever(c, b"1000\r\n" + b"a" * 4096 + b"\r\n")),
}

EARLY = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig"


def early_close(conn: socket.socket) -> None:
    conn.sendall(EARLY)
    time.sleep(0.05)
    conn.close()  # Unread data: the client gets a reset behind the answer.


def early_slow(conn: socket.socket) -> None:
    conn.sendall(EARLY[:-2])
    time.sleep(0.5)
    conn.sendall(EARLY[-2:])
    conn.close()


BEFORE_BODY: dict[str, Callable[[socket.socket], None]] = {
    "/early-hang": lambda c: (c.sendall(EARLY), time.sleep(0.8), c.close())[-1],
    "/early-close": early_close,
    "/early-slow": early_slow,
    "/early-reset": reset,
    "/never-reads": lambda c: time.sleep(1.0),
}
"""Answers given as soon as the head of the request is there, its body unread."""


def read_request(conn: socket.socket, rest: bytes) -> tuple[str, str, int, bytes] | None:
    """Path, x-id, what is still to be read of the body, and what came of it. None: the client is gone."""
    while b"\r\n\r\n" not in rest:
        piece = conn.recv(65536)
        if not piece or piece[0] == 0x16:  # A TLS hello: no line of it will ever end.
            return None
        rest += piece
    head, _, body = rest.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    length = int(fields.get("content-length", "0"))
    return lines[0].split(" ")[1], fields.get("x-id", ""), length, body


def serve(conn: socket.socket) -> None:
    rest = b""
    while (request := read_request(conn, rest)) is not None:
        path, name, length, body = request
        if path in BEFORE_BODY:
            with LOCK:
                COUNTS[name or path] += 1
            return BEFORE_BODY[path](conn)
        while len(body) < length:
            piece = conn.recv(1 << 20)
            if not piece:
                return None
            body += piece
        rest = body[length:]
        if path == "/counts":
            with LOCK:
                text = json.dumps({"requests": dict(COUNTS), "open": len(OPEN) - 1}).encode()
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
            continue
        with LOCK:
            COUNTS[name or path] += 1
        if not SCRIPTS[path](conn):
            return None
    return None


def handle(conn: socket.socket, tls: ssl.SSLContext | None, on_accept: str) -> None:
    key = id(conn)
    with LOCK:
        OPEN.add(key)
    try:
        conn.settimeout(60.0)
        if on_accept == "reset":
            reset(conn)
        elif on_accept == "hang":
            hang(conn)
        elif on_accept == "drip-tls":
            drip(conn, b"\x16\x03\x03\x40\x00" + bytes(64), 0.1)
        else:
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                conn = tls.wrap_socket(conn, server_side=True)
            serve(conn)
    except (OSError, ValueError):
        pass
    finally:
        conn.close()
        with LOCK:
            OPEN.discard(key)


def listen(tls: ssl.SSLContext | None = None, on_accept: str = "") -> int:
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)

    def accept() -> None:
        while True:
            conn, _ = listener.accept()
            threading.Thread(target=handle, args=(conn, tls, on_accept), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(listener.getsockname()[1])


def full_backlog() -> tuple[int, list[socket.socket]]:
    """A port where connecting hangs: nobody accepts and the queue is full."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
    return int(listener.getsockname()[1]), [listener, *fillers]


class Authority:
    """A CA of the moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hostile CA")])
        self.file = self._write("ca", self._key, self._sign(self._name, self._key, ca=True))

    def context(self, name: str, *, host: str = "127.0.0.1", days: int = 1, signed: bool = True) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        file = self._write(name, key, self._sign(subject, key, host=host, days=days, signed=signed))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *,
        host: str = "",
        days: int = 1,
        signed: bool = True,
        ca: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name if signed else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=10))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if host:
            is_name = host.replace(".", "").isalpha()
            name = x509.DNSName(host) if is_name else x509.IPAddress(ipaddress.ip_address(host))
            builder = builder.add_extension(x509.SubjectAlternativeName([name]), critical=False)
        return builder.sign(self._key if signed else key, hashes.SHA256())

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> Path:
        file = self.folder / f"{name}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        return file


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        full_port, held = full_backlog()
        ports = {
            "plain": listen(),
            "tls": listen(authority.context("good")),
            "expired": listen(authority.context("expired", days=-5)),
            "wrong-host": listen(authority.context("wrong", host="elsewhere.example")),
            "self-signed": listen(authority.context("self", signed=False)),
            "reset": listen(on_accept="reset"),
            "hang": listen(on_accept="hang"),
            "drip-tls": listen(on_accept="drip-tls"),
            "full": full_port,
        }
        print(json.dumps({"ports": ports, "ca": str(authority.file)}), flush=True)
        sys.stdin.read()
        for sock in held:
            sock.close()


if __name__ == "__main__":
    main()
