"""What each model name does. Whatever follows a `+` is a label, so `ok+a` and `ok+b` are two models with one script.

  plain          ok, ok-<n> (n tokens), empty, json (fits the schema asked for), echo (says the request body),
                 tools, tools-parallel, cached (half of the input came from the cache)
  slow           slow-<ms>, slow-<ms>-<n> (before the headers and between chunks), hang, hang-stream (3 chunks, silence)
  errors         status-<code>, status-<code>-<error_code>, error-in-200, error-in-stream, flaky (every other call 500)
  broken         cut (3 chunks, RST), cut-headers, eof (no finish reason, no end mark), no-done (all but the end mark)
  usage          no-usage, usage-zero, usage-negative, usage-huge, usage-string, usage-nan, usage-list, usage-growing,
                 usage-twice, usage-on-finish
  garbage        html, badjson, badutf8, gzip, redirect, bigline, bigline-<MiB>, endless
  odd but valid  splitutf8, crlf, tiny (a byte a packet), many (all events in a packet), multiline, comments

Any other name: ok. A request without `stream` gets the nearest thing that makes sense for a whole answer.
"""

from __future__ import annotations

import gzip as gzip_codec
import re
from collections.abc import Awaitable, Callable
from typing import Any

from tests.upstream import answers
from tests.upstream.answers import Answer, Event, encode
from tests.upstream.exchange import Exchange, head_bytes, sse

Script = Callable[[Exchange, list[str]], Awaitable[None]]
HEAD = 4
"""Events of a stream that is broken off: the role, and 3 in which the model wrote something."""
ENDLESS_EVENTS = 1_000_000

flaky_calls: dict[str, int] = {}


def number(args: list[str], place: int, otherwise: int) -> int:
    """A numeric argument of a model's name."""
    return int(args[place]) if len(args) > place and args[place].isdigit() else otherwise


def books(x: Exchange, answer: Answer, *, cached: bool = False) -> Any:
    """Enter the honest count in the ledger; gives it in OpenAI's shape."""
    usage = x.ask.usage(answer, cached=cached)
    x.call.usage = {"prompt": usage.prompt, "completion": usage.completion, "cached": usage.cached}
    return usage.as_json()


def said(x: Exchange, reported: Any) -> Any:
    """Note what is reported as usage."""
    x.call.reported = None if reported is None else encode(reported).decode()
    return reported


def prepared(x: Exchange, answer: Answer) -> list[Event]:
    """The events of an honest stream."""
    return answers.events(x.ask, answer, said(x, books(x, answer)))


async def tell(x: Exchange, answer: Answer, *, delay_ms: float = 0, cached: bool = False) -> None:
    """Answer honestly, streamed or not as was asked."""
    usage = said(x, books(x, answer, cached=cached))
    await x.pause(delay_ms) if delay_ms else None
    if not x.ask.stream:
        await x.json(200, answers.completion(x.ask, answer, usage))
        return
    await x.begin()
    await x.events(answers.events(x.ask, answer, usage), delay_ms)
    await x.end()


# ---------------------------------------------------------------- plain


async def ok(x: Exchange, args: list[str]) -> None:
    await tell(x, answers.words(x.ask, number(args, 0, answers.DEFAULT_TOKENS)))


async def empty(x: Exchange, args: list[str]) -> None:
    await tell(x, Answer())


async def json_object(x: Exchange, args: list[str]) -> None:
    await tell(x, answers.structured(x.ask))


async def echo(x: Exchange, args: list[str]) -> None:
    await tell(x, answers.spoken(encode(x.ask.body).decode("utf-8", "replace")))


async def tools(x: Exchange, args: list[str]) -> None:
    await tell(x, answers.calls(x.ask, 2 if args == ["parallel"] else 1))


async def cached(x: Exchange, args: list[str]) -> None:
    await tell(x, answers.words(x.ask), cached=True)


async def slow(x: Exchange, args: list[str]) -> None:
    answer = answers.words(x.ask, number(args, 1, answers.DEFAULT_TOKENS))
    await tell(x, answer, delay_ms=number(args, 0, 100))


# ---------------------------------------------------------------- silence and breaks


async def hang(x: Exchange, args: list[str]) -> None:
    if args != ["stream"]:
        await x.silence()
    await begin_of_answer(x)
    await x.silence()


async def begin_of_answer(x: Exchange) -> None:
    """Three chunks, or half of a whole answer."""
    answer = answers.words(x.ask)
    if x.ask.stream:
        await x.begin()
        await x.events(prepared(x, answer)[:HEAD])
        return
    body = encode(answers.completion(x.ask, answer, books(x, answer)))
    await x.reply(200, body[: len(body) // 2], claimed_length=len(body))


async def cut(x: Exchange, args: list[str]) -> None:
    if args == ["headers"]:
        await x.raw(head_bytes(200, {"content-type": "application/json"})[:-30])
        await x.reset()
    await begin_of_answer(x)
    await x.reset()


async def eof(x: Exchange, args: list[str]) -> None:
    if not x.ask.stream:
        await begin_of_answer(x)
        await x.reset()
    await x.begin()
    await x.events(prepared(x, answers.words(x.ask))[:HEAD])
    await x.end(b"")


async def no_done(x: Exchange, args: list[str]) -> None:
    if not x.ask.stream:
        await ok(x, [])
        return
    await x.begin()
    await x.events(prepared(x, answers.words(x.ask)))
    await x.end(b"")


# ---------------------------------------------------------------- errors


async def status(x: Exchange, args: list[str]) -> None:
    code = number(args, 0, 500)
    headers = {"x-request-id": f"req_scripted_{x.call.sequence}"}
    if code in (429, 503):
        headers["retry-after"] = "1"
    await x.json(code, answers.error(code, "-".join(args[1:]) or None), headers)


async def error(x: Exchange, args: list[str]) -> None:
    failure = answers.error(500)
    if args[-1] == "200" and not x.ask.stream:
        await x.json(200, failure)
        return
    await x.begin()
    if args[-1] == "stream":
        await x.events(prepared(x, answers.words(x.ask))[:HEAD])
    await x.piece(sse(encode(failure)))
    await x.end(b"")


async def flaky(x: Exchange, args: list[str]) -> None:
    seen = flaky_calls[x.ask.model] = flaky_calls.get(x.ask.model, 0) + 1
    await (status(x, ["500"]) if seen % 2 else ok(x, []))


async def redirect(x: Exchange, args: list[str]) -> None:
    host = x.call.headers.get("host", "127.0.0.1")
    await x.reply(302, b"", headers={"location": f"http://{host}/_redirected"})


# ---------------------------------------------------------------- usage

_ODD_USAGE: dict[str, tuple[Any, Any]] = {
    "zero": (0, 0),
    "negative": (-5, -7),
    "huge": (10**30, 10**30),
    "string": ("12", "many"),
    "nan": (float("nan"), float("nan")),
}


async def no_usage(x: Exchange, args: list[str]) -> None:
    answer = answers.words(x.ask)
    books(x, answer)
    if not x.ask.stream:
        await x.json(200, answers.completion(x.ask, answer, None))
        return
    await x.begin()
    await x.events(answers.events(x.ask, answer, None))
    await x.end()


async def usage(x: Exchange, args: list[str]) -> None:
    kind = "-".join(args)
    answer = answers.words(x.ask)
    honest = books(x, answer)
    reported: Any = honest
    if kind == "list":
        reported = [1, 2]
    elif kind in _ODD_USAGE:
        prompt, output = _ODD_USAGE[kind]
        reported = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": output}
    said(x, reported)
    if not x.ask.stream:
        await x.json(200, answers.completion(x.ask, answer, reported))
        return
    found = answers.events(x.ask, answer, reported)
    await x.begin()
    place = _USAGE_PLACES.get(kind)
    await x.events(place(found, honest) if place else found)
    await x.end()


def _with_usage(event: Event, usage: Any) -> Event:
    return Event(re.sub(rb'(, "usage": null)?}$', b', "usage": ' + encode(usage) + b"}", event.data), event.is_content)


def _growing(found: list[Event], honest: Any) -> list[Event]:
    """A cumulative count in every event."""
    written = 0
    grown = []
    for event in found[:-1]:
        written += event.is_content
        grown.append(_with_usage(event, honest | {"completion_tokens": written}))
    return [*grown, found[-1]]


_USAGE_PLACES: dict[str, Callable[[list[Event], Any], list[Event]]] = {
    "growing": _growing,
    "twice": lambda found, honest: [*found, found[-1]],
    "on-finish": lambda found, honest: [*found[:-2], _with_usage(found[-2], honest)],
}


# ---------------------------------------------------------------- garbage


async def html(x: Exchange, args: list[str]) -> None:
    await x.reply(200, b"<!doctype html><title>Welcome</title><h1>It works!</h1>", "text/html")


async def badjson(x: Exchange, args: list[str]) -> None:
    answer = answers.words(x.ask)
    if not x.ask.stream:
        await x.reply(200, encode(answers.completion(x.ask, answer, books(x, answer)))[:-9])
        return
    found = prepared(x, answer)
    await x.begin()
    await x.events(found[:HEAD])
    await x.piece(b'data: {"choices": [{"index": 0, "delta": {oops\n\n')
    await x.events(found[HEAD:])
    await x.end()


async def badutf8(x: Exchange, args: list[str]) -> None:
    answer = answers.words(x.ask)
    if not x.ask.stream:
        body = encode(answers.completion(x.ask, answer, said(x, books(x, answer))))
        await x.reply(200, body.replace(b" word1", b" \xff\xfe\xc3"))
        return
    await x.begin()
    for event in prepared(x, answer):
        await x.event(event, sse(event.data.replace(b" word1", b" \xff\xfe\xc3")))
    await x.end()


async def gzip(x: Exchange, args: list[str]) -> None:
    answer = answers.words(x.ask)
    usage = said(x, books(x, answer))
    coding = {"content-encoding": "gzip"}
    if not x.ask.stream:
        await x.reply(200, gzip_codec.compress(encode(answers.completion(x.ask, answer, usage))), headers=coding)
        return
    found = answers.events(x.ask, answer, usage)
    await x.begin(coding)
    await x.piece(gzip_codec.compress(b"".join(sse(event.data) for event in found) + b"data: [DONE]\n\n"))
    x.note(*found)
    await x.end(b"")


async def bigline(x: Exchange, args: list[str]) -> None:
    """One line that does not end before so many MiB (64)."""
    mebibytes = number(args, 0, 64)
    filler = b"x" * 65536
    if x.ask.stream:
        await x.begin()
        send, opening = x.piece, b'data: {"choices": [{"index": 0, "delta": {"content": "'
    else:
        opening = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": "'
        await x.reply(200, b"", claimed_length=mebibytes * 1048576 + len(opening) + 4)
        send = x.raw
    await send(opening)
    for _ in range(mebibytes * 16):
        await send(filler)
    await send(b'"}}]')
    await x.reset()


async def endless(x: Exchange, args: list[str]) -> None:
    if not x.ask.stream:
        await bigline(x, [])
    found = prepared(x, answers.words(x.ask))
    await x.begin()
    await x.event(found[0])
    for _ in range(ENDLESS_EVENTS):
        await x.event(found[1])
        await x.pause(1)


# ---------------------------------------------------------------- odd but valid


async def splitutf8(x: Exchange, args: list[str]) -> None:
    answer = answers.words(x.ask, word=" hé€𝄞{}")
    if not x.ask.stream:
        await tell(x, answer)
        return
    await x.begin()
    for event in prepared(x, answer):
        framed = sse(event.data)
        middle = framed.find("𝄞".encode()) + 2 if "𝄞".encode() in framed else len(framed) // 2
        for part in (framed[:middle], framed[middle:]):
            await x.piece(part)
            await x.pause(2)
        x.note(event)
    await x.end()


async def reframed(x: Exchange, frame: Callable[[bytes], bytes], mark: bytes) -> None:
    """An honest stream in another framing."""
    answer = answers.words(x.ask)
    if not x.ask.stream:
        await tell(x, answer)
        return
    await x.begin()
    for event in prepared(x, answer):
        await x.event(event, frame(event.data))
    await x.end(mark)


async def crlf(x: Exchange, args: list[str]) -> None:
    await reframed(x, lambda data: b"data: " + data + b"\r\n\r\n", b"data: [DONE]\r\n\r\n")


async def multiline(x: Exchange, args: list[str]) -> None:
    await reframed(x, lambda data: b"data: " + data.replace(b', "', b',\ndata:  "', 3) + b"\n\n", b"data: [DONE]\n\n")


async def comments(x: Exchange, args: list[str]) -> None:
    noise = b": keep-alive\n\n:\nid: 7\nretry: 3000\nevent: message\n"
    await reframed(x, lambda data: noise + b"data:" + data + b"\n\n", b": bye\n\ndata:[DONE]\n\n")


async def many(x: Exchange, args: list[str]) -> None:
    answer = answers.words(x.ask)
    if not x.ask.stream:
        await tell(x, answer)
        return
    found = prepared(x, answer)
    await x.begin()
    await x.piece(b"".join(sse(event.data) for event in found))
    x.note(*found)
    await x.end()


async def tiny(x: Exchange, args: list[str]) -> None:
    """Also the framing of the chunked body comes byte by byte."""
    answer = answers.words(x.ask, 3)
    if not x.ask.stream:
        body = encode(answers.completion(x.ask, answer, said(x, books(x, answer))))
        await x.reply(200, b"", claimed_length=len(body))
        send, data = x.raw, body
    else:
        found = prepared(x, answer)
        await x.begin()
        send, data = x.piece, b"".join(sse(event.data) for event in found) + b"data: [DONE]\n\n"
        x.note(*found)
    for at in range(len(data)):
        await send(data[at : at + 1])
        await x.pause(0)
    if x.ask.stream:
        await x.end(b"")
    x.call.outcome = "answered"


SCRIPTS: dict[str, Script] = {
    "ok": ok,
    "empty": empty,
    "json": json_object,
    "echo": echo,
    "tools": tools,
    "cached": cached,
    "slow": slow,
    "hang": hang,
    "cut": cut,
    "eof": eof,
    "no-done": no_done,
    "status": status,
    "error-in": error,
    "flaky": flaky,
    "redirect": redirect,
    "no-usage": no_usage,
    "usage": usage,
    "html": html,
    "badjson": badjson,
    "badutf8": badutf8,
    "gzip": gzip,
    "bigline": bigline,
    "endless": endless,
    "splitutf8": splitutf8,
    "crlf": crlf,
    "multiline": multiline,
    "comments": comments,
    "many": many,
    "tiny": tiny,
}


def script_of(model: str) -> tuple[Script, list[str]]:
    """The script for a model's name, and the arguments that the name gives it."""
    name = model.split("+", 1)[0]
    for known in sorted(SCRIPTS, key=len, reverse=True):
        if name == known:
            return SCRIPTS[known], []
        if name.startswith(known + "-"):
            return SCRIPTS[known], name[len(known) + 1 :].split("-")
    return ok, []
