"""TLS towards services."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable
from pathlib import Path

from lockgate.errors import ConfigurationError
from lockgate.settings import UpstreamSettings
from lockgate_trust import exposure


def build_tls_context(urls: Iterable[str], settings: UpstreamSettings) -> ssl.SSLContext | None:
    """The TLS context for services: checks names and certificates, and shows the gateway's certificate, if any.

    Args:
        urls: the base URLs of services.
        settings: names the trusted authorities and the gateway's own certificate.

    Returns:
        `None` where no address is https: reading the trusted authorities takes 20 ms.

    Raises:
        ConfigurationError: a file cannot be read or is not PEM, or other accounts may read the private key.
    """
    if not any(url.startswith("https://") for url in urls):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.cert_file is not None:
            _load_certificate(context, settings.cert_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"upstream: ca_file or cert_file cannot be used ({type(error).__name__})") from error
    return context


def _load_certificate(context: ssl.SSLContext, path: Path) -> None:
    """Load the certificate chain and private key of a file that no other account can read."""
    with path.open("rb") as file:
        wrong = exposure(os.fstat(file.fileno()))
        if wrong is not None:
            raise ConfigurationError(f"upstream.cert_file: {path}: {wrong}")
        # Read the opened file where the system has a name for it: the path may have been replaced since the check.
        opened = Path("/proc/self/fd") / str(file.fileno())
        context.load_cert_chain(opened if opened.exists() else path)
