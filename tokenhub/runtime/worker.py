"""gunicorn's gevent worker with an own loop over a connection (`worker_class` in `gunicorn.conf.py`).

It speaks HTTP/1 only, ends slow senders at deadlines, and answers in JSON where a request never gets to the
application. What is read from a client is in inbound.py.
"""

from __future__ import annotations

import logging
import resource
from typing import Any

from gunicorn import util
from gunicorn.http.errors import NoMoreData
from gunicorn.workers.ggevent import GeventWorker

from tokenhub.runtime.inbound import WRITE_S, InboundReader, InboundRequest, Refused

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
            name = listener.getsockname()
            number = 0
            while True:
                reader.await_head(self.cfg.keepalive)
                request, number = None, number + 1
                request = InboundRequest(self.cfg, reader, addr, number)
                self.handle_request(name, request, client, addr)
                if not request.body.finish():
                    break
        except StopIteration:  # The client closed, or the response said that this was the last one.
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
