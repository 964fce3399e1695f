from __future__ import annotations

import http.client
import inspect
import socket
import ssl

import pytest
import requests.exceptions
import urllib3.exceptions

from tokenhub.errors import ProviderTransient
from tokenhub.providers.translation import CLIENT_ERRORS, Progress, kind_of

EXPECTED = {
    "requests.exceptions": {
        "ChunkedEncodingError": "lost",
        "ConnectTimeout": "timeout",
        "ConnectionError": "lost",
        "ContentDecodingError": "garbled",
        "HTTPError": "lost",
        "InvalidHeader": "unusable",
        "InvalidJSONError": "garbled",
        "InvalidProxyURL": "unusable",
        "InvalidSchema": "unusable",
        "InvalidURL": "unusable",
        "JSONDecodeError": "garbled",
        "MissingSchema": "unusable",
        "ProxyError": "lost",
        "ReadTimeout": "timeout",
        "RequestException": "lost",
        "RetryError": "lost",
        "SSLError": "tls",
        "StreamConsumedError": "lost",
        "Timeout": "timeout",
        "TooManyRedirects": "unusable",
        "URLRequired": "unusable",
        "UnrewindableBodyError": "unusable",
    },
    "urllib3.exceptions": {
        "BodyNotHttplibCompatible": "garbled",
        "ClosedPoolError": "lost",
        "ConnectTimeoutError": "timeout",
        "ConnectionError": "lost",
        "DecodeError": "garbled",
        "EmptyPoolError": "lost",
        "FullPoolError": "lost",
        "HTTPError": "lost",
        "HeaderParsingError": "garbled",
        "HostChangedError": "lost",
        "IncompleteRead": "lost",
        "InvalidChunkLength": "garbled",
        "InvalidHeader": "garbled",
        "LocationParseError": "unusable",
        "LocationValueError": "unusable",
        "MaxRetryError": "lost",
        "NameResolutionError": "lost",
        "NewConnectionError": "lost",
        "PoolError": "lost",
        "ProtocolError": "lost",
        "ProxyError": "lost",
        "ProxySchemeUnknown": "unusable",
        "ProxySchemeUnsupported": "lost",
        "ReadTimeoutError": "timeout",
        "RequestError": "lost",
        "ResponseError": "lost",
        "ResponseNotChunked": "garbled",
        "SSLError": "tls",
        "TimeoutError": "timeout",
        "TimeoutStateError": "lost",
        "URLSchemeUnknown": "unusable",
        "UnrewindableBodyError": "unusable",
    },
}


def bare(cls: type[BaseException]) -> BaseException:
    """An instance without its constructor: only the class is of interest."""
    return cls.__new__(cls)


@pytest.mark.parametrize("module", [requests.exceptions, urllib3.exceptions], ids=lambda module: module.__name__)
def test_every_error_class_of_the_libraries_has_its_meaning(module) -> None:
    classes = {
        name: cls
        for name, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, Exception) and not issubclass(cls, Warning) and cls.__module__ == module.__name__
    }
    assert all(issubclass(cls, CLIENT_ERRORS) for cls in classes.values())
    assert {name: kind_of(bare(cls)) for name, cls in classes.items()} == EXPECTED[module.__name__]


def test_the_cause_inside_a_wrapper_decides() -> None:
    refused = urllib3.exceptions.ProtocolError("Connection aborted.", http.client.BadStatusLine("nonsense"))
    assert kind_of(requests.exceptions.ConnectionError(refused)) == "garbled"
    hung_up = urllib3.exceptions.ProtocolError("Connection aborted.", http.client.RemoteDisconnected("closed"))
    assert kind_of(requests.exceptions.ConnectionError(hung_up)) == "lost"
    late = urllib3.exceptions.ProtocolError("Connection aborted.", TimeoutError())
    assert kind_of(requests.exceptions.ConnectionError(late)) == "timeout"


FAILURES = [
    (requests.exceptions.ConnectTimeout(), False, "connect_timeout", False),
    (socket.gaierror(-2, "no such host"), False, "connect_failed", False),
    (ssl.SSLCertVerificationError("self-signed"), False, "tls_failed", False),
    (requests.exceptions.InvalidURL("http://["), False, "connect_failed", False),
    (requests.exceptions.ReadTimeout(), True, "headers_timeout", True),
    (http.client.RemoteDisconnected("closed"), True, "connection_lost", True),
    (http.client.BadStatusLine("x"), True, "bad_response", True),
    (ConnectionResetError(), True, "connection_lost", True),
    (ssl.SSLError("bad mac"), True, "connection_lost", True),
    (ValueError("Read on closed or unwrapped SSL socket."), True, "connection_lost", True),
]


@pytest.mark.parametrize(("error", "sent", "code", "doubtful"), FAILURES, ids=lambda value: repr(value)[:40])
def test_what_an_error_means_depends_on_whether_the_body_was_sent(error, sent, code, doubtful) -> None:
    progress = Progress()
    progress.sent = sent
    with pytest.raises(ProviderTransient) as caught:
        progress.translate(error)
    assert (caught.value.code, caught.value.doubtful) == (code, doubtful)
    assert caught.value.blame == ("target" if sent else "provider")


def test_after_an_answer_nothing_is_doubtful() -> None:
    progress = Progress()
    progress.sent, progress.doubtful = True, False
    with pytest.raises(ProviderTransient) as caught:
        progress.translate(ConnectionResetError())
    assert not caught.value.doubtful


def test_a_refused_header_value_does_not_travel_with_the_error() -> None:
    with pytest.raises(ProviderTransient) as caught:
        Progress().translate(ValueError("Invalid header value b'Bearer sk-canary'"))
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert "canary" not in str(caught.value)
