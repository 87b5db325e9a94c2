"""What a start needs, looked at one by one: an operator reads all that is missing at once, not one thing a start."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from lockgate.clock import SystemClock
from lockgate.errors import ConfigurationError, collect_faults
from lockgate.keys.files import LINKS_FOLDER
from lockgate.keys.reload import certificate_source, link_source, ring_source, tls_keys, tls_source
from lockgate.settings import Settings
from lockgate.stores.checked_address import read_checked_address
from lockgate.upstream.tls import build_tls_context

NO_REDIS: Final = (
    "redis_url is not set: give this setting, or the variable REDIS_URL, the address of Redis; "
    "`lockgate dev` brings a Redis of its own"
)


def find_faults(settings: Settings) -> list[str]:
    """A line for each thing that keeps a worker with these settings from starting. Nothing is asked over a network."""
    directory = settings.keys.directory
    return [
        *([] if settings.redis_url is not None else [NO_REDIS]),
        *find_faults_of_settings(settings),
        *collect_faults(
            ring_source(directory).read,
            link_source(directory / LINKS_FOLDER, lambda: settings.called_services).read,
            tls_source(tls_keys(settings)).read,
            *([certificate_source(settings, SystemClock()).read] if settings.tls.certificates else []),
        ),
    ]


def find_faults_of_settings(settings: Settings) -> list[str]:
    """The same without the keys, which other accounts may not read; a Redis that is not named is no fault here."""
    url = settings.redis_url
    return collect_faults(
        lambda: url and read_checked_address(url.get_secret_value()),
        lambda: _check_accounts(settings),
        lambda: build_tls_context(_upstreams_of(settings), settings.upstream),
    )


def _check_accounts(settings: Settings) -> None:
    service = settings.accounts.service
    if not settings.upstream_urls(service):
        raise ConfigurationError(f"accounts.service: no route leads to {service}, and upstreams has no address for it")


def _upstreams_of(settings: Settings) -> Iterable[str]:
    yield from settings.upstream_urls(settings.accounts.service)
    for route in settings.route:
        yield from settings.upstreams_of(route)
