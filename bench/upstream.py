"""A mock upstream that answers at once: 1.6 KB of chat completion, or 50 chunks of a stream, 20 ms apart.

Run as `python -m bench.upstream PORT`. It parses as little as it can, so that it never is what is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys

CHUNKS, GAP_S = 50, 0.020


def _completion() -> bytes:
    body = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "bench-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "word " * 260, "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 12, "completion_tokens": 260, "total_tokens": 272},
    }
    payload = json.dumps(body).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(payload)
    return head + payload


def _event(delta: str, finish: str, usage: str = "null", choices: bool = True) -> bytes:
    choice = f'{{"index":0,"delta":{delta},"finish_reason":{finish}}}' if choices else ""
    text = (
        '{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench-model",'
        f'"choices":[{choice}],"usage":{usage}}}'
    )
    data = f"data: {text}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


WHOLE = _completion()
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ROLE = _event('{"role":"assistant","content":""}', "null")
CHUNK = _event('{"content":"word "}', "null")
LAST = _event("{}", '"stop"')
USAGE = _event("", "", '{"prompt_tokens":12,"completion_tokens":50,"total_tokens":62}', choices=False)
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection; requests one after the other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            if b'"stream":true' in body.replace(b" ", b""):
                asyncio.ensure_future(self.stream())
            else:
                self.transport.write(WHOLE)

    async def stream(self) -> None:
        # The first content comes at once: TokenHub sends its headers only then, so a pause here would be counted.
        self.transport.write(STREAM_HEAD + ROLE + CHUNK)
        for _ in range(CHUNKS - 1):
            await asyncio.sleep(GAP_S)
            if self.transport.is_closing():
                return
            self.transport.write(CHUNK)
        self.transport.write(LAST + USAGE + DONE)


async def main(port: int) -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
