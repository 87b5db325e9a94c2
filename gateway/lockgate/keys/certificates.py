"""The certificates that the gateway shows to clients, by the names that they are valid for.

One reading of all files is one `Certificates`: a client's handshake sees one reading only. Connections that are open
keep the reading that they began with.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from lockgate.clock import Clock
from lockgate.errors import ConfigurationError
from lockgate.settings import CertificateSettings, Settings, TlsSettings
from lockgate_trust import exposure

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secrecy and authenticated encryption (RFC 9325 section 4.2). TLS 1.3 has no others."""
_WILDCARD: Final = "*."
_PROTOCOLS: Final = ("http/1.1",)


class ServerSide(ssl.SSLObject):
    """The gateway's side of a TLS connection.

    Attributes:
        server_name: the name that the client asked by SNI, in lower case; `None` without SNI.
    """

    server_name: str | None = None


class Certificate(NamedTuple):
    """A certificate that was read and checked.

    Attributes:
        names: of hosts, as DNS names, `*.` names, and addresses in the spelling of a Host.
        expires_at: Unix seconds.
        digest: SHA-256 of the certificate.
        context: shows it.
    """

    names: tuple[str, ...]
    expires_at: float
    digest: str
    context: ssl.SSLContext


class Certificates:
    """The certificates of one reading; at least one.

    Args:
        certificates: the first is for clients without SNI.

    Attributes:
        default: the context for a new connection. In its handshake it gives way to that for the client's SNI.
        expires_at: when the first of them expires, Unix seconds.
        digests: of all of them.
    """

    def __init__(self, certificates: Sequence[Certificate]) -> None:
        self._by_name: Mapping[str, Certificate] = {
            name: certificate for certificate in certificates for name in certificate.names
        }
        self.default = certificates[0].context
        self.default.sni_callback = self._choose
        self.expires_at = min(certificate.expires_at for certificate in certificates)
        self.digests = tuple(certificate.digest for certificate in certificates)

    def are_for(self, host: str) -> bool:
        """Whether one of them is valid for a host: a name in lower case, or an address; without a port."""
        return self._find(host) is not None

    def describe(self) -> str:
        """The names and the first expiry, for the log."""
        return f"{', '.join(self._by_name)}; the first expires at {_time_of(self.expires_at)}"

    def _find(self, name: str) -> Certificate | None:
        # A wildcard stands for exactly one label (RFC 9525 section 6.3).
        return self._by_name.get(name) or self._by_name.get(f"{_WILDCARD}{name.partition('.')[2]}")

    def _choose(self, tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        if name is None or not isinstance(tls, ServerSide):
            return
        tls.server_name = name.lower().removesuffix(".")
        certificate = self._find(tls.server_name)
        if certificate is not None:
            tls.context = certificate.context


def load_certificates(settings: Settings, clock: Clock) -> Certificates:
    """Read and check all certificates.

    Args:
        settings: names at least one, and the hosts that are served.
        clock: tells whether a certificate has expired.

    Raises:
        ConfigurationError: a file cannot be read or is no PEM, other accounts may read a key, a key is not that of its
            certificate, a certificate has expired or names no host, two are for the same host, or a host that is served
            has none.
    """
    found = [_load_certificate(files, settings.tls, clock) for files in settings.tls.certificates]
    by_name: dict[str, Path] = {}
    for files, certificate in zip(settings.tls.certificates, found, strict=True):
        for name in certificate.names:
            other = by_name.setdefault(name, files.chain)
            if other is not files.chain:
                raise ConfigurationError(f"tls: {other} and {files.chain} are both for {name}")
    _check_hosts(settings, by_name)
    return Certificates(found)


def certificate_files(settings: TlsSettings) -> Iterable[Path]:
    """Every file that `load_certificates` reads."""
    files = [path for one in settings.certificates for path in (one.chain, one.key)]
    return [*files, settings.client_ca_file] if settings.client_ca_file else files


def _check_hosts(settings: Settings, names: Iterable[str]) -> None:
    """Refuse a host that no client can reach. A trusted proxy may ask any host, so with one nothing is known."""
    if settings.server.trusted_proxies:
        return
    served = [(f"route {route.name!r}: hosts", host) for route in settings.route for host in route.hosts]
    if settings.server.own_host:
        served.append(("server.own_host", settings.server.own_host))
    missing = [
        f"{place}: no certificate of [tls] is for {host}, and over TLS no host without one is served"
        for place, host in served
        if not any(_is_reached(host, name) for name in names)
    ]
    if missing:
        raise ConfigurationError(*missing)


def _is_reached(host: str, name: str) -> bool:
    """Whether a certificate with this name is valid for a host, or for some host of a wildcard."""
    if host.startswith(_WILDCARD):
        return name.endswith(host[1:])
    return name in {host, f"{_WILDCARD}{host.partition('.')[2]}"}


def _load_certificate(files: CertificateSettings, settings: TlsSettings, clock: Clock) -> Certificate:
    context = _new_context(settings)
    leaf = _load_chain(context, files)
    names = _names_of(leaf)
    expires_at = leaf.not_valid_after_utc.timestamp()
    if not names:
        raise ConfigurationError(f"tls: {files.chain} names no host (subjectAltName)")
    if expires_at <= clock.now():
        raise ConfigurationError(f"tls: {files.chain} has expired at {_time_of(expires_at)}")
    return Certificate(names, expires_at, leaf.fingerprint(hashes.SHA256()).hex(), context)


def _new_context(settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = ServerSide
    context.minimum_version = _VERSIONS[settings.min_version]
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(_PROTOCOLS)
    # Attack: renegotiations cost the server far more than the client.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if settings.client_ca_file is not None:
        try:
            context.load_verify_locations(settings.client_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"tls.client_ca_file: {settings.client_ca_file}: {_fault_of(error)}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load_chain(context: ssl.SSLContext, files: CertificateSettings) -> x509.Certificate:
    """Load a chain with its key into a context; the first certificate of the chain."""
    try:
        with files.chain.open("rb") as chain, files.key.open("rb") as key:
            wrong = exposure(os.fstat(key.fileno()))
            if wrong is not None:
                raise ConfigurationError(f"tls: {files.key}: {wrong}")
            # The opened files: the paths may have been replaced since the check.
            context.load_cert_chain(_path_of(chain, files.chain), _path_of(key, files.key), password=_no_passphrase)
            return x509.load_pem_x509_certificates(chain.read())[0]
    except (OSError, ssl.SSLError, ValueError) as error:
        raise ConfigurationError(f"tls: {files.chain} and {files.key}: {_fault_of(error)}") from error


def _path_of(file: Any, path: Path) -> Path:  # noqa: ANN401 - any opened file
    opened = Path("/proc/self/fd") / str(file.fileno())
    return opened if opened.exists() else path


def _no_passphrase() -> str:
    # Otherwise OpenSSL would ask for it at the terminal.
    raise ValueError("the private key has a passphrase; give it one without")


def _names_of(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    hosts = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    addresses = names.get_values_for_type(x509.IPAddress)
    return (*hosts, *(f"[{one}]" if isinstance(one, IPv6Address) else str(one) for one in addresses))


def _fault_of(error: Exception) -> str:
    """What is wrong, in words; OpenSSL's own words hold no secret."""
    if isinstance(error, ssl.SSLError):
        if error.reason == "KEY_VALUES_MISMATCH":
            return "the key is not that of the certificate"
        return f"not PEM, or not what it should be ({error.reason})"
    if isinstance(error, OSError):
        return f"{error.filename} cannot be read ({error.strerror})" if error.filename else str(error.strerror)
    return str(error)


def _time_of(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat()
