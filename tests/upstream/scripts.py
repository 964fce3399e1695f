"""What each model name does. Whatever follows a `+` is a label, so `ok+a` and `ok+b` are two models with one script.

  plain          ok, ok-<n> (n tokens), empty, json (fits the schema asked for), echo (says the request body),
                 tools, tools-parallel (once the results are there: as ok), filtered (ends for its content),
                 cached (half of the input came from the cache, a quarter was put there),
                 stop (honours stop texts), stop-named (tells OpenAI's callers which, as vLLM does),
                 thinking, thinking-tools, thinking-sealed (also reasoning that is not shown); reasoning is the same
  slow           slow-<ms>, slow-<ms>-<n> (before the headers and between chunks), hang, hang-stream (3 chunks, silence)
  errors         status-<code>, status-<code>-<error_code>, error-in-200, error-in-stream, flaky (every other call 500)
  broken         cut (3 chunks, RST), cut-headers, eof (no finish reason, no end mark), no-done (all but the end mark)
  usage          no-usage, usage-zero, usage-negative, usage-huge, usage-string, usage-nan, usage-list, usage-growing,
                 usage-twice, usage-on-finish
  garbage        html, badjson, badutf8, gzip, redirect, bigline, bigline-<MiB>, endless
  odd but valid  splitutf8, crlf, tiny (a byte a packet), many (all events in a packet), multiline, comments

Any other name: ok. A request without `stream` gets the nearest thing that makes sense for a whole answer. Each script
answers in the dialect that it was asked in: POST .../chat/completions is OpenAI's, POST .../messages Anthropic's.
"""

from __future__ import annotations

import gzip as gzip_codec
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import Any

from tests.upstream import answers
from tests.upstream.answers import Answer, Event, encode
from tests.upstream.exchange import Exchange, head_bytes, sse

Script = Callable[[Exchange, list[str]], Awaitable[None]]
BEGUN = 3
"""How often the model has written something when a stream is broken off."""
ENDLESS_EVENTS = 1_000_000

flaky_calls: dict[str, int] = {}


def number(args: list[str], place: int, otherwise: int) -> int:
    """A numeric argument of a model's name."""
    return int(args[place]) if len(args) > place and args[place].isdigit() else otherwise


def books(x: Exchange, answer: Answer, *, cached: bool = False) -> Any:
    """Enter the honest count in the ledger; gives it in the caller's dialect."""
    usage = x.ask.usage(answer, cached=cached)
    if x.dialect.NAME == "openai":
        usage = replace(usage, cache_write=0)  # it has no word for it
    x.call.usage = asdict(usage)
    return x.dialect.usage(usage)


def said(x: Exchange, reported: Any) -> Any:
    """Note what is reported as usage."""
    x.call.reported = None if reported is None else encode(reported).decode()
    return reported


def prepared(x: Exchange, answer: Answer) -> list[Event]:
    """The events of an honest stream."""
    return x.dialect.events(x.ask, answer, said(x, books(x, answer)))


def opening(found: list[Event], written: int = BEGUN) -> int:
    """How many events of a stream there are until the model has written so often."""
    return [index + 1 for index, event in enumerate(found) if event.is_content][written - 1]


async def tell(x: Exchange, answer: Answer, *, delay_ms: float = 0, cached: bool = False) -> None:
    """Answer honestly, streamed or not as was asked."""
    usage = said(x, books(x, answer, cached=cached))
    await x.pause(delay_ms) if delay_ms else None
    if not x.ask.stream:
        await x.json(200, x.dialect.completion(x.ask, answer, usage))
        return
    await x.begin()
    await x.events(x.dialect.events(x.ask, answer, usage), delay_ms)
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
    await tell(x, called(x, 2 if args == ["parallel"] else 1))


def called(x: Exchange, count: int) -> Answer:
    """Tool calls, or words where their results are there."""
    return answers.words(x.ask) if x.ask.has_results else answers.calls(x.ask, count)


async def cached(x: Exchange, args: list[str]) -> None:
    await tell(x, answers.words(x.ask), cached=True)


async def filtered(x: Exchange, args: list[str]) -> None:
    await tell(x, replace(answers.words(x.ask, 3), finish_reason="content_filter"))


async def stop(x: Exchange, args: list[str]) -> None:
    await tell(x, replace(answers.stopped(x.ask, answers.words(x.ask)), names_stop=args == ["named"]))


async def thinking(x: Exchange, args: list[str]) -> None:
    answer = called(x, 1) if args == ["tools"] else answers.words(x.ask)
    await tell(x, answers.pondered(x.ask, answer, sealed=args == ["sealed"]))


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
        found = prepared(x, answer)
        await x.begin()
        await x.events(found[: opening(found)])
        return
    body = encode(x.dialect.completion(x.ask, answer, books(x, answer)))
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
    await begin_of_answer(x)
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
    headers = {x.dialect.REQUEST_ID: f"req_scripted_{x.call.sequence}"}
    if code in (429, 503, 529):
        headers["retry-after"] = "1"
    await x.json(code, x.dialect.error(code, "-".join(args[1:]) or None), headers)


async def error(x: Exchange, args: list[str]) -> None:
    if args[-1] == "200" and not x.ask.stream:
        await x.json(200, x.dialect.error(500))
        return
    found = prepared(x, answers.words(x.ask)) if args[-1] == "stream" else []
    await x.begin()
    await x.events(found[: opening(found)] if found else [])
    await x.piece(sse(x.dialect.error_event(500)))
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
        await x.json(200, x.dialect.completion(x.ask, answer, None))
        return
    await x.begin()
    await x.events(x.dialect.events(x.ask, answer, None))
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
        reported = x.dialect.odd_usage(prompt, output)
    said(x, reported)
    if not x.ask.stream:
        await x.json(200, x.dialect.completion(x.ask, answer, reported))
        return
    found = x.dialect.events(x.ask, answer, reported)
    await x.begin()
    await x.events(x.dialect.misplaced(kind, found, honest))
    await x.end()


# ---------------------------------------------------------------- garbage


async def html(x: Exchange, args: list[str]) -> None:
    await x.reply(200, b"<!doctype html><title>Welcome</title><h1>It works!</h1>", "text/html")


async def badjson(x: Exchange, args: list[str]) -> None:
    answer = answers.words(x.ask)
    if not x.ask.stream:
        await x.reply(200, encode(x.dialect.completion(x.ask, answer, books(x, answer)))[:-9])
        return
    found = prepared(x, answer)
    begun = opening(found)
    await x.begin()
    await x.events(found[:begun])
    await x.piece(sse(found[begun]._replace(data=found[begun].data[:-4] + b"oops")))
    await x.events(found[begun:])
    await x.end()


async def badutf8(x: Exchange, args: list[str]) -> None:
    answer = answers.words(x.ask)
    if not x.ask.stream:
        body = encode(x.dialect.completion(x.ask, answer, said(x, books(x, answer))))
        await x.reply(200, body.replace(b" word1", b" \xff\xfe\xc3"))
        return
    await x.begin()
    for event in prepared(x, answer):
        await x.event(event, sse(event).replace(b" word1", b" \xff\xfe\xc3"))
    await x.end()


async def gzip(x: Exchange, args: list[str]) -> None:
    answer = answers.words(x.ask)
    usage = said(x, books(x, answer))
    coding = {"content-encoding": "gzip"}
    if not x.ask.stream:
        await x.reply(200, gzip_codec.compress(encode(x.dialect.completion(x.ask, answer, usage))), headers=coding)
        return
    found = x.dialect.events(x.ask, answer, usage)
    await x.begin(coding)
    await x.piece(gzip_codec.compress(b"".join(map(sse, found)) + x.dialect.END))
    x.note(*found)
    await x.end(b"")


async def bigline(x: Exchange, args: list[str]) -> None:
    """One line that does not end before so many MiB (64)."""
    mebibytes = number(args, 0, 64)
    filler = b"x" * 65536
    answer, key = answers.words(x.ask), x.dialect.TEXT_KEY
    if x.ask.stream:
        found = prepared(x, answer)
        place = opening(found, 1) - 1
        await x.begin()
        await x.events(found[:place])
        send, begin = x.piece, sse(found[place]).partition(key)[0] + key
    else:
        begin = encode(x.dialect.completion(x.ask, answer, books(x, answer))).partition(key)[0] + key
        await x.reply(200, b"", claimed_length=mebibytes * 1048576 + len(begin) + 4)
        send = x.raw
    await send(begin)
    for _ in range(mebibytes * 16):
        await send(filler)
    await send(b'"}}]')
    await x.reset()


async def endless(x: Exchange, args: list[str]) -> None:
    if not x.ask.stream:
        await bigline(x, [])
    found = prepared(x, answers.words(x.ask))
    begun = opening(found, 1)
    await x.begin()
    await x.events(found[:begun])
    for _ in range(ENDLESS_EVENTS):
        await x.event(found[begun - 1])
        await x.pause(1)


# ---------------------------------------------------------------- odd but valid


async def splitutf8(x: Exchange, args: list[str]) -> None:
    answer = answers.words(x.ask, word=" hé€𝄞{}")
    if not x.ask.stream:
        await tell(x, answer)
        return
    await x.begin()
    for event in prepared(x, answer):
        framed = sse(event)
        middle = framed.find("𝄞".encode()) + 2 if "𝄞".encode() in framed else len(framed) // 2
        for part in (framed[:middle], framed[middle:]):
            await x.piece(part)
            await x.pause(2)
        x.note(event)
    await x.end()


async def reframed(x: Exchange, frame: Callable[[Event], bytes], mark: bytes) -> None:
    """An honest stream in another framing."""
    answer = answers.words(x.ask)
    if not x.ask.stream:
        await tell(x, answer)
        return
    await x.begin()
    for event in prepared(x, answer):
        await x.event(event, frame(event))
    await x.end(mark if x.dialect.END else b"")


async def crlf(x: Exchange, args: list[str]) -> None:
    await reframed(x, lambda event: sse(event).replace(b"\n", b"\r\n"), b"data: [DONE]\r\n\r\n")


async def multiline(x: Exchange, args: list[str]) -> None:
    def frame(event: Event) -> bytes:
        return sse(event._replace(data=event.data.replace(b', "', b',\ndata:  "', 3)))

    await reframed(x, frame, b"data: [DONE]\n\n")


async def comments(x: Exchange, args: list[str]) -> None:
    noise = b": keep-alive\n\n:\nid: 7\nretry: 3000\nevent: message\n"
    await reframed(x, lambda event: noise + sse(event).replace(b"data: ", b"data:", 1), b": bye\n\ndata:[DONE]\n\n")


async def many(x: Exchange, args: list[str]) -> None:
    answer = answers.words(x.ask)
    if not x.ask.stream:
        await tell(x, answer)
        return
    found = prepared(x, answer)
    await x.begin()
    await x.piece(b"".join(map(sse, found)))
    x.note(*found)
    await x.end()


async def tiny(x: Exchange, args: list[str]) -> None:
    """Also the framing of the chunked body comes byte by byte."""
    answer = answers.words(x.ask, 3)
    if not x.ask.stream:
        body = encode(x.dialect.completion(x.ask, answer, said(x, books(x, answer))))
        await x.reply(200, b"", claimed_length=len(body))
        send, data = x.raw, body
    else:
        found = prepared(x, answer)
        await x.begin()
        send, data = x.piece, b"".join(map(sse, found)) + x.dialect.END
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
    "filtered": filtered,
    "stop": stop,
    "thinking": thinking,
    "reasoning": thinking,
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
