"""Makes requests that no sane client sends, out of ones that it does: bytes for the wire, from a random generator.

The same generator state makes the same bytes, so a case is named by its seed and number.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from random import Random
from typing import Any

MODELS = (
    "ok ok-3 ok+spare empty json echo tools tools-parallel cached cut badjson badutf8 no-usage error-in-200".split()
)
MODELS += "error-in-stream status-400 status-401 status-404 status-429 status-500 status-503 html eof no-done".split()
MODELS += ["meta-llama/Llama-3", "nobody", "", "auto", "usage-negative", "usage-huge", "usage-nan", "multiline", "crlf"]
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 2**64, 10**30, 1.5, -0.0, 1e308, 5e-324, "", " ", "x", "0",
    "true", "\x00", "\u2028", "é", "🔑" * 50, "a" * 5000, "\r\nX: y", "{{7*7}}", "' OR 1=1 --", "../../etc/passwd",
    "<script>", [], [[]], [None], [1, "x", {}], {}, {"": None}, {"$ref": "#"}, {"type": "text"}, {"type": []},
    {"role": "user"},
]  # fmt: skip
FIELDS = """
    model messages stream stream_options max_tokens max_completion_tokens n temperature top_p presence_penalty
    frequency_penalty seed stop tools tool_choice parallel_tool_calls response_format logit_bias logprobs top_logprobs
    metadata user tokenhub request policy parameters model_hint output_schema output_format id meta capabilities
    estimated_input_tokens content role name tool_calls tool_call_id type text image_url url function arguments
    reasoning_content refusal audio modalities mode budget latency_ms min_weight fallback __proto__ __class__ error
""".split()
PATHS = """
    /v1/chat/completions /v1/chat /v1/models /v1/models/ok /v1/models/meta-llama/Llama-3 /v1/decisions/dec_0 /v1
    /v1/chat/ /v1//chat //v1/chat /V1/chat /v1/chat/completions/ /v1/chat/completions?x=1 /v1/chat;a=b /v1/./chat
    /v1/../v1/chat /v1/%63hat /v1/chat%00 /v1/models/%ff /v1/models/%2e%2e%2f /v1/embeddings /v1/plan /v1/responses
    /v1/decisions/%00 /v1/decisions/..%2f.. /v1/models/? /v1/models/# http://a/v1/chat * v1/chat
""".split()
METHODS = "POST POST POST POST GET GET PUT DELETE PATCH OPTIONS HEAD TRACE CONNECT FOO get P".split()
HEADERS = """
    Content-Length:0 Content-Length:5 Content-Length:-1 Content-Length:+1 Content-Length:99999999999 Content-Length:x
    Transfer-Encoding:chunked Transfer-Encoding:identity Transfer-Encoding:gzip,chunked Transfer-Encoding:xchunked
    Transfer_Encoding:chunked Content-Encoding:gzip Content-Encoding: Content-Type:text/plain Content-Type:
    Content-Type:application/json;charset=utf-16 Content-Type:multipart/form-data;boundary=x Expect:100-continue
    Expect:x Host:b Host:a/b Host: Connection:keep-alive Connection:upgrade Upgrade:h2c Upgrade:websocket TE:trailers
    HTTP2-Settings:AAMAAABkAAQAAP__ Authorization: Authorization:Basic Authorization:Bearer X-Api-Key:x
    X-Request-Id:a/b X-Request-Id:ok X-Forwarded-For:x X-Forwarded-Proto:gopher Forwarded:for=x SCRIPT_NAME:/v1
    Accept:text/event-stream Accept:x Range:bytes=0-1 If-None-Match:* Origin:http://x Origin:null Cookie:a=b
    Access-Control-Request-Method:POST X-HTTP-Method-Override:DELETE Idempotency-Key:x Trailer:x Max-Forwards:0
""".split()
TOKENS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b" ",
    b"\t",
    b":",
    b"\r\n\r\n",
    b"\xff",
    b"\xc0\x80",
    b"0\r\n\r\n",
    b"{",
    b"]",
    b"\\u",
]
TOKENS += [
    b"\xed\xa0\x80",
    b"9" * 400,
    b"[" * 2000,
    b'{"a":' * 500,
    b"HTTP/1.1",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"chunked",
]


@dataclass(frozen=True)
class Case:
    """What is sent, in pieces; `is_plain` where it is a clean HTTP request, so that exactly one answer must come."""

    pieces: list[bytes]
    is_plain: bool

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


def make(rng: Random, key: str) -> Case:
    """One request with a random body, head and framing. Most are wrong in one place only."""
    kind = rng.random()
    body = encoded(rng, mutated(rng, valid(rng), rng.choice((0, 0, 1, 1, 2, 5))))
    if kind < 0.2:
        body = damaged(rng, body)
    if kind < 0.7:
        path = rng.choice(PATHS[:2])
        return Case([head("POST", path, key, [f"Content-Length:{len(body)}"]), body], True)
    headers = rng.sample(HEADERS, rng.choice((0, 1, 1, 1, 2, 4)))
    framing, sent = framed(rng, body)
    data = head(rng.choice(METHODS), rng.choice(PATHS), key, [framing, *headers], shuffle=rng) + sent
    if kind > 0.9:
        data = damaged(rng, data)
    if kind > 0.97:
        data = data[: rng.randrange(len(data))]
    return Case(cut(rng, data), False)


def head(method: str, path: str, key: str, headers: list[str], shuffle: Random | None = None) -> bytes:
    lines = [
        "Host:gateway",
        "Connection:close",
        f"Authorization:Bearer {key}",
        "Content-Type:application/json",
        *headers,
    ]
    if shuffle is not None:
        if shuffle.random() < 0.1:
            del lines[shuffle.randrange(len(lines))]
        shuffle.shuffle(lines)
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode()


# ---------------------------------------------------------------- bodies


def valid(rng: Random) -> Any:
    """A body that is right, in either dialect."""
    messages: list[Any] = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "what is this?"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
        {"role": "assistant", "content": None, "tool_calls": [_CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "5"},
        {"role": "user", "content": "hello"},
    ]
    body: dict[str, Any] = {"model": rng.choice(MODELS), "messages": messages[rng.randrange(len(messages)) :]}
    extra = {
        "stream": rng.random() < 0.5,
        "max_tokens": 20,
        "temperature": 0.5,
        "tools": [_TOOL],
        "user": "me",
        "seed": 7,
    }
    extra |= {"stream_options": {"include_usage": True}, "response_format": {"type": "json_object"}, "stop": ["x"]}
    body |= {name: extra[name] for name in rng.sample(list(extra), rng.randrange(len(extra)))}
    if rng.random() < 0.3:
        model, words, stream = body.pop("model"), body.pop("messages"), body.pop("stream", False)
        request = {"model_hint": model, "messages": words, "stream": stream, "parameters": body}
        return {"request": request, "policy": {}} if rng.random() < 0.5 else request
    return body


_CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
_TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


def mutated(rng: Random, body: Any, times: int) -> Any:
    """The body with something in it replaced, wrapped, added, dropped or doubled."""
    body = copy.deepcopy(body)
    for _ in range(times):
        places = list(_places(body))
        if not places:
            return _odd(rng)
        holder, at = rng.choice(places)
        what = rng.random()
        if what < 0.5:
            holder[at] = _odd(rng)
        elif what < 0.6:
            del holder[at]
        elif what < 0.75:
            holder[at] = [holder[at]] * rng.choice((1, 1, 2, 300))
        elif isinstance(holder, dict):
            holder[rng.choice(FIELDS)] = _odd(rng)
        else:
            holder.insert(at, copy.deepcopy(holder[at]))
    return body


def _odd(rng: Random) -> Any:
    return copy.deepcopy(rng.choice(ODD))


def _places(node: Any) -> Any:
    """Every place in a tree: its holder and the key or index."""
    keys: Any = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from _places(node[key])


def encoded(rng: Random, body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def damaged(rng: Random, data: bytes) -> bytes:
    """Some bytes flipped, dropped, doubled or put in."""
    found = bytearray(data or b" ")
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        at = rng.randrange(len(found))
        what = rng.randrange(4)
        if what == 0:
            found[at] = rng.randrange(256)
        elif what == 1:
            del found[at : at + rng.choice((1, 1, 10, 1000))]
        elif what == 2:
            found[at:at] = rng.choice(TOKENS)
        else:
            found[at:at] = found[max(0, at - rng.choice((1, 20, 300))) : at]
        found = found or bytearray(b" ")
    return bytes(found)


# ---------------------------------------------------------------- framing


def framed(rng: Random, body: bytes) -> tuple[str, bytes]:
    """How long a body says it is, and the body as it is sent."""
    if rng.random() < 0.5:
        wrong = rng.choice((0, 0, 0, 1, -1, 100))
        return f"Content-Length:{max(0, len(body) + wrong)}", body
    size = rng.choice((1, 7, 100, 5000))
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    end = rng.choice((b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"00\r\n\r\n", b"0;a=b\r\n\r\n", b"0\r\n", b""))
    return "Transfer-Encoding:chunked", b"".join(_chunk(rng, chunk) for chunk in chunks) + end


def _chunk(rng: Random, data: bytes) -> bytes:
    if rng.random() > 0.01:
        return b"%x\r\n%b\r\n" % (len(data), data)
    wrong = (
        b"%x;a=b\r\n%b\r\n",
        b"0%x\r\n%b\r\n",
        b"%X \r\n%b\r\n",
        b"+%x\r\n%b\r\n",
        b"%x\n%b\n",
        b"1%x\r\n%b\r\n",
        b"%x;\r\n%b",
    )
    return rng.choice(wrong) % (len(data), data)


def cut(rng: Random, data: bytes) -> list[bytes]:
    """The same bytes in one to four packets."""
    places = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 1, 3))))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if a < b]
