"""The certificates that clients see: which one a client gets, and which files are refused: R-300, R-301."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lockgate.errors import ConfigurationError
from lockgate.keys.certificates import Certificates, ServerSide, load_certificates
from lockgate.settings import Settings, TlsSettings
from tests.support.certificate import Authority
from tests.support.clock import ManualClock


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.made(tmp_path)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(time.time())  # that of the certificates


def loaded(clock: ManualClock, *files: dict[str, str], **more: object) -> Certificates:
    return load_certificates(Settings(tls={"certificates": files, **more}), clock)  # type: ignore[arg-type]


def shake_hands(certificates: Certificates, authority: Authority, name: str | None) -> tuple[ServerSide, list[str]]:
    """A handshake in memory: the server's side, and the names in the certificate that the client saw."""
    client_context = ssl.create_default_context(cafile=authority.file)
    client_context.check_hostname = False
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = certificates.default.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert isinstance(server, ServerSide)
    shown = client.getpeercert(binary_form=True)
    assert shown is not None
    extension = x509.load_der_x509_certificate(shown).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return server, extension.value.get_values_for_type(x509.DNSName)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("app.example", "app.example"),
        ("APP.example", "app.example"),
        ("wiki.example", "wiki.example"),
        ("one.shop.example", "*.shop.example"),
        ("two.one.shop.example", "app.example"),
        ("shop.example", "app.example"),
        ("unknown.example", "app.example"),
        (None, "app.example"),
    ],
)
def test_the_name_that_a_client_asks_selects_the_certificate(
    name: str | None, shown: str, authority: Authority, clock: ManualClock, tmp_path: Path
) -> None:
    """R-300: the most exact one; the first for all other clients."""
    certificates = loaded(
        clock,
        authority.issue(tmp_path, "app", "app.example", "127.0.0.1"),
        authority.issue(tmp_path, "wiki", "wiki.example"),
        authority.issue(tmp_path, "shop", "*.shop.example"),
    )
    server, names = shake_hands(certificates, authority, name)
    assert names[0] == shown
    assert server.server_name == (None if name is None else name.lower())


def test_a_host_is_served_where_a_certificate_is_valid_for_it(
    authority: Authority, clock: ManualClock, tmp_path: Path
) -> None:
    """R-300."""
    certificates = loaded(
        clock, authority.issue(tmp_path, "app", "App.Example", "*.shop.example", "127.0.0.1", "2001:db8::1")
    )
    for host in ("app.example", "one.shop.example", "127.0.0.1", "[2001:db8::1]"):
        assert certificates.are_for(host)
    for host in ("", "shop.example", "a.b.shop.example", "*.example", "example", "127.0.0.2", "[2001:db8::2]"):
        assert not certificates.are_for(host)


def test_an_exact_name_wins_over_a_wildcard(authority: Authority, clock: ManualClock, tmp_path: Path) -> None:
    """R-300."""
    wildcard = authority.issue(tmp_path, "any", "*.shop.example")
    exact = authority.issue(tmp_path, "one", "one.shop.example")
    _, names = shake_hands(loaded(clock, wildcard, exact), authority, "one.shop.example")
    assert names == ["one.shop.example"]


def give_away(files: dict[str, str]) -> None:
    Path(files["key"]).chmod(0o644)


def remove_key(files: dict[str, str]) -> None:
    Path(files["key"]).unlink()


def cut_chain(files: dict[str, str]) -> None:
    chain = Path(files["chain"])
    chain.write_bytes(chain.read_bytes()[:200])


def empty_chain(files: dict[str, str]) -> None:
    Path(files["chain"]).write_bytes(b"")


def protect_key(files: dict[str, str]) -> None:
    key = Path(files["key"])
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (give_away, "its mode is 0644"),
        (remove_key, "cannot be read (No such file or directory)"),
        (cut_chain, "not PEM"),
        (empty_chain, "not PEM"),
        (protect_key, "has a passphrase"),
    ],
)
def test_files_that_do_not_serve_are_refused(
    spoil: Callable[[dict[str, str]], None], told: str, authority: Authority, clock: ManualClock, tmp_path: Path
) -> None:
    """R-301: the error names the file and the fault."""
    files = authority.issue(tmp_path, "app", "app.example")
    spoil(files)
    with pytest.raises(ConfigurationError) as error:
        loaded(clock, files)
    assert told in str(error.value)
    assert str(tmp_path / "app") in str(error.value)


def test_a_key_of_another_certificate_is_refused(authority: Authority, clock: ManualClock, tmp_path: Path) -> None:
    """R-301."""
    app, wiki = (authority.issue(tmp_path, name, f"{name}.example") for name in ("app", "wiki"))
    with pytest.raises(ConfigurationError, match="the key is not that of the certificate"):
        loaded(clock, {**app, "key": wiki["key"]})


def test_an_expired_certificate_is_refused(authority: Authority, clock: ManualClock, tmp_path: Path) -> None:
    """R-301: also one that expires while the gateway runs, at the next reading."""
    files = authority.issue(tmp_path, "app", "app.example", days=1)
    loaded(clock, files)
    clock.advance(86_401)
    with pytest.raises(ConfigurationError, match="has expired at"):
        loaded(clock, files)


def test_a_certificate_without_a_host_is_refused(authority: Authority, clock: ManualClock, tmp_path: Path) -> None:
    """R-301: clients look at the alternative names only (RFC 9525)."""
    with pytest.raises(ConfigurationError, match="names no host"):
        loaded(clock, authority.issue(tmp_path, "app"))


def test_two_certificates_for_one_host_are_refused(authority: Authority, clock: ManualClock, tmp_path: Path) -> None:
    """R-301: which of them is meant cannot be known."""
    one, other = (authority.issue(tmp_path, name, "app.example", f"{name}.example") for name in ("one", "other"))
    with pytest.raises(ConfigurationError, match=r"one\.crt and .*other\.crt are both for app\.example"):
        loaded(clock, one, other)


def test_an_authority_for_clients_that_cannot_be_read_is_refused(
    authority: Authority, clock: ManualClock, tmp_path: Path
) -> None:
    """R-301."""
    files = authority.issue(tmp_path, "app", "app.example")
    with pytest.raises(ConfigurationError, match=r"tls\.client_ca_file: .*nowhere\.pem: No such file"):
        loaded(clock, files, client_ca_file=tmp_path / "nowhere.pem")


def test_old_versions_are_refused(authority: Authority, clock: ManualClock, tmp_path: Path) -> None:
    """R-302: TLS 1.2 at least (RFC 9325), or 1.3 where the operator wants it."""
    files = authority.issue(tmp_path, "app", "app.example")
    assert loaded(clock, files).default.minimum_version is ssl.TLSVersion.TLSv1_2
    assert loaded(clock, files, min_version="1.3").default.minimum_version is ssl.TLSVersion.TLSv1_3
    ciphers = {cipher["name"] for cipher in loaded(clock, files).default.get_ciphers()}
    assert ciphers
    assert all(name.startswith(("TLS_", "ECDHE-")) and ("GCM" in name or "CHACHA20" in name) for name in ciphers)


def test_settings_that_would_do_nothing_are_refused() -> None:
    """A setting of TLS without a certificate."""
    with pytest.raises(ValueError, match="tls has no certificates"):
        TlsSettings(redirect_port=80)


def served_on(hosts: list[str], files: dict[str, str], **server: object) -> Settings:
    route = {"name": "wiki", "prefix": "/", "hosts": hosts, "upstreams": ["http://127.0.0.1:1"], "auth": "required"}
    return Settings(tls={"certificates": [files]}, route=[route], server=server)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["wiki.example", "one.app.example", "*.wiki.example"])
def test_a_host_of_a_route_without_a_certificate_is_told(
    host: str, authority: Authority, clock: ManualClock, tmp_path: Path
) -> None:
    """R-301: no client could reach the route."""
    files = authority.issue(tmp_path, "app", "app.example")
    with pytest.raises(
        ConfigurationError, match=re.escape(f"route 'wiki': hosts: no certificate of [tls] is for {host},")
    ):
        load_certificates(served_on(["app.example", host], files), clock)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("wiki.example", "wiki.example"),
        ("wiki.example", "*.example"),
        ("*.example", "*.example"),
        ("*.example", "wiki.example"),
        ("*.example", "*.shop.example"),
    ],
)
def test_a_host_of_a_route_with_a_certificate_is_served(
    host: str, name: str, authority: Authority, clock: ManualClock, tmp_path: Path
) -> None:
    """R-301: where a wildcard has a certificate for some of its hosts, its route is reached."""
    load_certificates(served_on([host], authority.issue(tmp_path, "app", name)), clock)


def test_a_host_that_only_a_trusted_proxy_asks_needs_no_certificate(
    authority: Authority, clock: ManualClock, tmp_path: Path
) -> None:
    """R-301: the proxy shows its own."""
    files = authority.issue(tmp_path, "app", "app.example")
    load_certificates(served_on(["wiki.example"], files, trusted_proxies=["10.0.0.0/8"]), clock)


def test_an_own_host_without_a_certificate_is_told(authority: Authority, clock: ManualClock, tmp_path: Path) -> None:
    """R-301: no client could log in."""
    files = authority.issue(tmp_path, "app", "app.example")
    with pytest.raises(ConfigurationError, match=r"server\.own_host: no certificate"):
        load_certificates(served_on(["app.example"], files, own_host="login.example"), clock)
