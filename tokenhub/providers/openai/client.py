"""The calls to an OpenAI-compatible provider: address, headers, deadlines, and the key that never leaves but in its
header. What the bytes mean is in request.py, wire.py, chunks.py, crossing.py and failures.py."""

from __future__ import annotations

from dataclasses import replace

from tokenhub.domain.catalog import Provider, Target
from tokenhub.domain.chat import ChatCommand, Reply
from tokenhub.domain.ports import Deadlines
from tokenhub.providers.calls import (
    Classify,
    EventReader,
    EventStream,
    header_key,
    read_whole,
    require_stream,
    scrubbed,
)
from tokenhub.providers.http import Exchange, HttpClient
from tokenhub.providers.openai import failures, wire
from tokenhub.providers.openai.address import Address, address
from tokenhub.providers.openai.chunks import ChunkReader
from tokenhub.providers.openai.crossing import CrossingReader, cross_reply
from tokenhub.providers.openai.request import SAME_SHAPE, Manners, not_carried, request_payload
from tokenhub.providers.reading import encode


class OpenAIClient:
    """A `ports.ProviderClient` over `http`."""

    def __init__(
        self,
        provider: Provider,
        api_key: str,
        http: HttpClient,
        manners: Manners | None = None,
        classify: Classify = failures.classify,
    ) -> None:
        """`manners` and `classify`: for servers that differ; by default the address tells the manners.

        Raises ValueError for a base_url or key that cannot be used; the message does not show the key.
        """
        key = header_key(api_key)
        where = address(provider.base_url)
        self.url = where.url
        self._http = http
        self._key = key
        self._manners = manners or manners_at(where)
        self._classify = classify
        self._headers = {"Content-Type": "application/json", "User-Agent": "tokenhub"}
        if key:
            self._headers[where.key_header] = where.key_prefix + key

    def __repr__(self) -> str:
        return f"OpenAIClient({self.url!r})"

    def send(self, command: ChatCommand, target: Target, deadlines: Deadlines, request_id: str) -> Reply:
        """Ask for a whole answer."""
        with scrubbed(self._key):
            exchange = self._post(command, target, deadlines, request_id, stream=False)
            reply = wire.read_reply(read_whole(exchange, self._classify, deadlines.total_s), target)
            if command.dialect in SAME_SHAPE:
                return reply
            reply.not_forwarded = not_carried(command, target, self._manners)
            return cross_reply(reply, command.parameters.stop)

    def stream(self, command: ChatCommand, target: Target, deadlines: Deadlines, request_id: str) -> EventStream:
        """Ask for a streamed answer; returns once the status and content type are good."""
        with scrubbed(self._key):
            exchange = self._post(command, target, deadlines, request_id, stream=True)
            require_stream(exchange, self._classify, wire.require_no_error)
        is_same = command.dialect in SAME_SHAPE
        reader: EventReader = ChunkReader(target) if is_same else CrossingReader(command.parameters.stop)
        left_out = not_carried(command, target, self._manners)
        return EventStream(exchange, reader, deadlines, dialect="openai", not_forwarded=left_out, key=self._key)

    def _post(
        self, command: ChatCommand, target: Target, deadlines: Deadlines, request_id: str, *, stream: bool
    ) -> Exchange:
        headers = {
            **self._headers,
            "Accept": "text/event-stream" if stream else "application/json",
            "X-Request-ID": request_id,
        }
        body = encode(request_payload(command, target, stream=stream, manners=self._manners))
        return self._http.post(self.url, headers, body, deadlines)


def manners_at(where: Address) -> Manners:
    """What is known of a server from its address alone."""
    manners = Manners(is_dated=where.is_dated)
    # Azure's deployments have names of their own: which model is behind one cannot be seen.
    return replace(manners, cap_field="max_completion_tokens") if where.is_openai and not where.is_dated else manners
