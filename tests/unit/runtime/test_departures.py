"""A caller who leaves is noticed at once, over real sockets; books are never interrupted."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

import gevent
import pytest
from gevent import socket

from tokenhub.errors import ClientGone, Stopping
from tokenhub.runtime.departures import Departures


class Caller:
    """Both ends of a connection."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()

    @property
    def environ(self) -> dict[str, object]:
        return {"gunicorn.socket": self.ours}


@pytest.fixture
def caller() -> Iterator[Caller]:
    made = Caller()
    yield made
    made.ours.close()
    made.theirs.close()


def request(departures: Departures, caller: Caller, seen: list[str], book_s: float = 0.0) -> None:
    """Waits for a silent provider, then keeps its books."""
    line = departures.watch(caller.environ)
    try:
        line.arm()
        try:
            gevent.sleep(5)
        finally:
            line.disarm()
            gevent.sleep(book_s)
            seen.append("booked")
    except (ClientGone, Stopping) as error:
        seen.append(error.code)
    finally:
        line.close()


def run(departures: Departures, caller: Caller, seen: list[str], book_s: float = 0.0) -> gevent.Greenlet:
    greenlet = gevent.spawn(request, departures, caller, seen, book_s)
    gevent.sleep(0.01)
    return greenlet


def test_a_hang_up_ends_what_is_waited_for(caller: Caller) -> None:
    departures, seen = Departures(), []
    greenlet = run(departures, caller, seen)
    started = time.monotonic()
    caller.theirs.close()
    greenlet.join(1)
    assert seen == ["booked", "client_closed_request"] and time.monotonic() - started < 1
    assert departures.live == set()


def test_a_half_closed_caller_counts_as_gone(caller: Caller) -> None:
    seen: list[str] = []
    greenlet = run(Departures(), caller, seen)
    caller.theirs.shutdown(socket.SHUT_WR)
    greenlet.join(1)
    assert seen == ["booked", "client_closed_request"]


def test_the_next_request_on_the_line_is_no_hang_up(caller: Caller) -> None:
    departures, seen = Departures(), []
    greenlet = run(departures, caller, seen)
    caller.theirs.sendall(b"GET / HTTP/1.1\r\n")
    gevent.sleep(0.02)
    assert not greenlet.dead and seen == []
    assert caller.ours.recv(100) == b"GET / HTTP/1.1\r\n"  # nothing of it was taken
    departures.end_all(Stopping("bye"))
    greenlet.join(1)
    assert seen == ["booked", "server_stopping"]


def test_books_are_not_interrupted(caller: Caller) -> None:
    departures, seen = Departures(), []
    greenlet = run(departures, caller, seen, book_s=0.05)
    departures.end_all(Stopping("bye"))
    gevent.sleep(0.01)
    caller.theirs.close()
    greenlet.join(1)
    assert seen == ["booked", "server_stopping"]


def test_an_end_that_came_before_is_told_when_it_matters(caller: Caller) -> None:
    line = Departures().watch(caller.environ)
    line.end(ClientGone("gone"))
    with pytest.raises(ClientGone):
        line.arm()
    line.close()


def test_without_a_socket_nothing_is_noticed() -> None:
    line = Departures().watch({})
    line.arm()
    line.disarm()
    line.close()


def test_a_thousand_of_them_leave_nothing_behind() -> None:
    departures, seen = Departures(), []

    def once() -> None:
        caller = Caller()
        greenlet = run_fast(caller)
        caller.theirs.close()
        greenlet.join(1)
        caller.ours.close()

    def run_fast(caller: Caller) -> gevent.Greenlet:
        greenlet = gevent.spawn(request, departures, caller, seen)
        gevent.sleep(0)
        return greenlet

    once()
    gc.collect()
    before = sum(isinstance(o, gevent.Greenlet) for o in gc.get_objects())
    for _ in range(1000):
        once()
    gc.collect()
    assert sum(isinstance(o, gevent.Greenlet) for o in gc.get_objects()) <= before + 1
    assert departures.live == set() and seen.count("client_closed_request") == 1001
