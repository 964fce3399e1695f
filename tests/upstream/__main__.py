"""`python -m tests.upstream`: run the scripted upstream in the foreground until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys

from tests.upstream import scripts
from tests.upstream.server import Upstream


async def serve(host: str, port: int, delay_ms: int) -> None:
    """Listen, print the URL, and wait for SIGINT or SIGTERM."""
    server = await Upstream(delay_ms).listen(host, port)
    bound = server.sockets[0].getsockname()[1]
    print(f"http://{host}:{bound}", flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    server.close()


def main() -> int:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.upstream",
        description="A scripted upstream in OpenAI's and Anthropic's protocols. The first line it prints is its URL.",
        epilog=scripts.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--delay-ms", type=int, default=0, help="be slower than the scripts by so much")
    chosen = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(chosen.host, chosen.port, chosen.delay_ms))
    return 0


if __name__ == "__main__":
    sys.exit(main())
