"""HTTP responses as plain bytes: cut into answers, strictly. For tests that write their requests by hand."""

from __future__ import annotations

import http.client
import io

from tests.e2e.harness import Answer


class _Source(io.BytesIO):
    """Bytes in the place of a socket, for http.client, which closes its file after each response."""

    def makefile(self, mode: str) -> _Source:
        return self

    def close(self) -> None:
        pass


def answers(data: bytes, method: str = "POST") -> list[Answer]:
    """The whole responses that these bytes are (to requests of one method), with nothing between or after them.

    Raises http.client.HTTPException, ValueError or AssertionError where they are something else.
    """
    found = []
    source = _Source(data)
    while source.tell() < len(data):
        response = http.client.HTTPResponse(source, method=method)  # type: ignore[arg-type]
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        assert len(headers) == len(response.getheaders()), response.getheaders()
        found.append(Answer(response.status, headers, response.read()))
    return found
