from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.unit.providers.conftest import always, deadlines, plain, serving
from tokenhub.errors import ProviderTransient
from tokenhub.providers.http import HttpClient
from tokenhub.providers.stock import StockAdapter

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate authority for one test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's authority")])
        self._cert = self._signed(self._name, self._key.public_key(), NOW + DAY, x509.BasicConstraints(True, None))
        self.file = folder / "authority.pem"
        self.file.write_bytes(self._cert.public_bytes(serialization.Encoding.PEM))

    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.file))

    def server(self, host: str = "localhost", until: datetime.datetime = NOW + DAY) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        cert = self._signed(name, key.public_key(), until, x509.SubjectAlternativeName([x509.DNSName(host)]))
        chain = self._folder / f"{host}.pem"
        pem = serialization.Encoding.PEM
        key_pem = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        chain.write_bytes(cert.public_bytes(pem) + key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context

    def _signed(self, name, public_key, until, extension) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 3 * DAY)
            .not_valid_after(until)
            .add_extension(extension, critical=False)
            .sign(self._key, hashes.SHA256())
        )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def ask(trust: ssl.SSLContext | None, server: ssl.SSLContext) -> bytes:
    """Ask a server that is called localhost; gives the answer, checks that a refused one was told nothing."""
    http = HttpClient(tls=trust)
    with serving(always(plain(b"over tls")), server) as upstream:
        try:
            url = upstream.url.replace("127.0.0.1", "localhost")
            exchange = http.post(url, {"Authorization": "Bearer sk-canary"}, b"{}", deadlines())
            answer = exchange.read_all(100, 1.0)
            exchange.close()
            return answer
        except ProviderTransient:
            assert upstream.requests == []
            raise
        finally:
            http.close()


def test_a_certificate_of_a_trusted_authority_is_accepted(authority: Authority) -> None:
    assert ask(authority.trusted(), authority.server()) == b"over tls"


@pytest.mark.parametrize("case", ["unknown authority", "expired", "wrong host"])
def test_a_bad_certificate_is_refused_and_nothing_is_sent(authority: Authority, case: str) -> None:
    trust = None if case == "unknown authority" else authority.trusted()
    server = {
        "unknown authority": authority.server(),
        "expired": authority.server(until=NOW - DAY),
        "wrong host": authority.server("elsewhere.test"),
    }[case]
    with pytest.raises(ProviderTransient) as caught:
        ask(trust, server)
    assert (caught.value.code, caught.value.doubtful, caught.value.blame) == ("tls_failed", False, "provider")


def test_a_silent_tls_handshake_is_a_connect_timeout_and_not_doubtful() -> None:
    http = HttpClient()
    # The plain server waits for a request that never comes in the clear.
    with serving(always(b"")) as upstream, pytest.raises(ProviderTransient) as caught:
        http.post(upstream.url.replace("http:", "https:"), {}, b"{}", deadlines(connect_s=0.2))
    http.close()
    assert (caught.value.code, caught.value.doubtful) == ("connect_timeout", False)


def test_all_connections_share_one_tls_context_and_nothing_is_retried() -> None:
    adapter = StockAdapter(pool_size=7)
    pool = adapter.poolmanager.connection_from_host("example.test", 443, "https")
    assert pool.conn_kw["ssl_context"] is adapter.poolmanager.connection_pool_kw["ssl_context"]
    assert adapter.max_retries.total == 0 and not pool.block and pool.pool.maxsize == 7
    adapter.close()
