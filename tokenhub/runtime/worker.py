"""gunicorn's gevent worker with an own loop over a connection (`worker_class` in `gunicorn.conf.py`).

It speaks HTTP/1 only, ends slow senders at deadlines, and answers in JSON where a request never gets to the
application. What is read from a client is in inbound.py.
"""

from __future__ import annotations

import functools
import logging
import resource
from typing import Any

from gunicorn import util
from gunicorn.http.errors import NoMoreData
from gunicorn.workers.ggevent import GeventWorker

from tokenhub.runtime.inbound import WRITE_S, InboundReader, InboundRequest, Refused
from tokenhub.runtime.outbound import FrozenConfig, OutboundResponse, base_environ, environ_of

log = logging.getLogger(__name__)

LINGER_S, LINGER_BYTES = 1.0, 256 * 1024
"""A client that still sends is heard on that long after its answer, or the kernel would throw the answer away."""
FILES_PER_CONNECTION, FILES = 2, 256
"""Open files a worker needs: the client's and the provider's socket of each connection, and its own."""
REFUSE_S = 1.0


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """A worker that is hard to knock over."""

    def init_process(self) -> None:
        """Start, with as many files as worker_connections may need."""
        allow_files(self.worker_connections)
        super().init_process()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection until it is over."""
        client.settimeout(WRITE_S)
        reader = InboundReader(client)
        request: InboundRequest | None = None
        unread = False
        try:
            base = self._base_environ(listener)
            number = 0
            while True:
                reader.await_head(self._frozen.keepalive)
                request, number = None, number + 1
                request = InboundRequest(self._frozen, reader, addr, number)
                if not self._answer(request, client, environ_of(request, client, addr, base)):
                    break
        except StopIteration:  # The client closed.
            pass
        except (ConnectionError, TimeoutError, NoMoreData) as error:
            log.debug("connection_ended", extra={"why": type(error).__name__})
        except Exception as error:
            unread = True
            self.handle_error(request, client, addr, error)
        finally:
            if unread or (request is not None and not request.body.can_be_finished()):
                util.close_graceful(client, LINGER_S, LINGER_BYTES)
            else:
                util.close(client)

    @functools.cached_property
    def _frozen(self) -> FrozenConfig:
        return FrozenConfig(self.cfg)

    @functools.cached_property
    def _base_environs(self) -> dict[Any, dict[str, Any]]:
        return {}

    def _base_environ(self, listener: Any) -> dict[str, Any]:
        name = listener.getsockname()
        if name not in self._base_environs:
            self._base_environs[name] = base_environ(self._frozen, name)
        return self._base_environs[name]

    def _answer(self, request: InboundRequest, client: Any, environ: dict[str, Any]) -> bool:
        """Have the application answer. False where the connection ends with this answer."""
        self.nr += 1
        if self.nr == self.max_requests:
            log.info("worker_retires", extra={"requests": self.nr})
            self.alive = False
        response = OutboundResponse(request, client, closes=not self.alive or not self._frozen.keepalive)
        try:
            pieces = self.wsgi(environ, response.start_response)
            try:
                for piece in pieces:
                    response.write(piece)
                response.close()
            finally:
                if hasattr(pieces, "close"):
                    pieces.close()
        except OSError:
            raise
        except Exception as error:
            if not response.is_begun:
                raise
            # Half an answer is out: nothing may follow it on this connection.
            log.error("response_broken", exc_info=error)
            return False
        return not response.closes and bool(request.body.finish())

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer for what the application could not answer."""
        if isinstance(exc, Refused):
            log.info("request_refused", extra={"why": exc.code, "status": exc.status, "client": addr and addr[0]})
            refused = exc
        else:
            log.error("unhandled_exception", exc_info=exc)
            refused = Refused(500, "internal_error", "the server failed", req)
        try:
            client.settimeout(REFUSE_S)
            client.sendall(refused.response())
        except OSError:
            log.debug("refusal_not_taken")


def allow_files(connections: int) -> None:
    """Raise this process's limit of open files (1024 is usual) for so many connections, as far as the system lets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections * FILES_PER_CONNECTION + FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
