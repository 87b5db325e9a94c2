"""New rules for a running worker: prepared first, and then taken or dropped as a whole.

Preparing changes nothing that a request could see, and may fail. Taking is one callback of the event loop and cannot
fail, so every worker of a node can prepare before one of them takes anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from lockgate.app.build import Auth, DataPath, Foundation, build_account_upstreams
from lockgate.errors import ConfigurationError
from lockgate.forward.services import NextServices
from lockgate.keys.certificates import Certificates
from lockgate.keys.reload import Source, certificate_source
from lockgate.policy.changes import Changes, RestartNeededError, compare_settings
from lockgate.policy.rules import Rules
from lockgate.settings import Settings
from lockgate.upstream.upstream import Upstream, find_fault
from lockgate_trust import LinkKeyError, LinkKeys

_log = logging.getLogger("lockgate.rules")


class Reloading(Protocol):
    """Brings new rules to a worker."""

    def running(self, change: RuleChange) -> AbstractAsyncContextManager[None]:
        """Bring them for as long as the context lasts."""

    def hang_up(self) -> None:
        """SIGHUP has come."""


@dataclass(slots=True)
class RulesState:
    """What is known of reloads, for `/readyz` and metrics.

    Attributes:
        taken: reloads that changed the rules since the start.
        refused: reloads that were refused since the start.
        problem: why the latest configuration was refused, in words that any client may read; `None`: it was not.
    """

    taken: int = 0
    refused: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Prepared:
    rules: Rules
    changes: Changes
    services: NextServices
    accounts: Sequence[Upstream] | None
    certificates: tuple[Source[Certificates], Certificates] | None


class RuleChange:
    """Exchanges the rules of a worker.

    Args:
        base: holds the rules in force, and the keys.
        auth: calls the users service.
        path: holds the connections to services.

    Attributes:
        state: for `/readyz` and metrics.
    """

    def __init__(self, base: Foundation, auth: Auth, path: DataPath) -> None:
        self._base = base
        self._auth = auth
        self._path = path
        self._prepared: _Prepared | None = None
        self.state = RulesState()

    @property
    def revision(self) -> str:
        """The revision of the rules in force."""
        return self._base.rules.value.revision

    async def prepare(self, settings: Settings) -> str:
        """Make everything that new rules need; `take` or `drop` comes next.

        Args:
            settings: the whole configuration.

        Returns:
            The revision of the new rules.

        Raises:
            ConfigurationError: the rules are not acceptable, a key or a certificate is missing, the name of a new
                upstream has no address, or a setting changed that needs a restart. The rules in force stay.
        """
        self.drop()
        before = self._base.rules.value.settings
        changes = compare_settings(before, settings)
        if changes.restart:
            raise RestartNeededError(changes.restart)
        # Off the event loop: a thousand routes take a quarter of a second.
        rules = await asyncio.to_thread(Rules.from_settings, settings)
        await self._check_links(settings)
        await self._check_names(before, settings)
        certificates = await self._read_certificates(settings)
        service = settings.accounts.service
        moved = before.upstream_urls(service) != settings.upstream_urls(service)
        accounts = build_account_upstreams(settings, self._base.ticker) if moved else None
        services = self._path.services.prepare(rules.routes)
        self._prepared = _Prepared(rules, changes, services, accounts, certificates)
        return rules.revision

    def take(self) -> None:
        """Put what was prepared in force."""
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return
        services = self._path.services
        services.take(prepared.services)
        if prepared.accounts is not None:
            services.retire_later(self._auth.account_calls.replace_upstreams(prepared.accounts))
        if prepared.certificates is not None:
            self._base.keys.follow_certificates(*prepared.certificates)
        self._base.rules.swap(prepared.rules)
        self.state.taken += 1
        self.state.problem = None
        places = ", ".join(change.place for change in prepared.changes.rules)
        _log.info("rules reloaded, revision %s: %s", prepared.rules.revision, places)

    def drop(self) -> None:
        """Give up what was prepared."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            self._path.services.drop(prepared.services)

    def note_refused(self, problem: str, told: str) -> None:
        """The node has refused a configuration.

        Args:
            problem: why, for the log.
            told: why, in words that any client may read.
        """
        self.state.refused += 1
        self.state.problem = told
        _log.error("the rules of revision %s stay in use: %s", self.revision, problem)

    def note_unchanged(self) -> None:
        """The configuration holds the rules in force, again."""
        self.state.problem = None

    @staticmethod
    async def _check_names(before: Settings, after: Settings) -> None:
        """Look up the names of upstreams that are new. At a start they may come later; here they replace what works."""
        known = {url for _, url in _list_upstreams(before)}
        new = [(place, url) for place, url in _list_upstreams(after) if url not in known]
        urls = sorted({url for _, url in new})
        faults = dict(zip(urls, await asyncio.gather(*map(find_fault, urls)), strict=True))
        lines = [f"{place}: {url}: {faults[url]}" for place, url in new if faults[url] is not None]
        if lines:
            raise ConfigurationError(*lines)

    async def _read_certificates(self, settings: Settings) -> tuple[Source[Certificates], Certificates] | None:
        """The certificates that clients see, for the hosts of the new rules; `None` without TLS."""
        if not settings.tls.certificates:
            return None
        source = certificate_source(settings, self._base.clock)
        return source, await asyncio.to_thread(source.read)

    async def _check_links(self, settings: Settings) -> None:
        """Look for the keys of services that are new."""
        keys = self._base.keys
        missing = _find_missing_link(keys.links.value, settings.called_services)
        if missing is not None:
            await keys.look()
            missing = _find_missing_link(keys.links.value, settings.called_services)
        if missing is not None:
            raise ConfigurationError(f"link keys: {missing}; `lockgate keys init` makes what is missing")


def _list_upstreams(settings: Settings) -> list[tuple[str, str]]:
    """The upstreams of each route and of the accounts, with the place that names them."""
    accounts = settings.accounts.service
    return [
        *((f"route {route.name!r}", url) for route in settings.route for url in settings.upstreams_of(route)),
        *((f"service {accounts!r}", url) for url in settings.upstream_urls(accounts)),
    ]


def _find_missing_link(links: LinkKeys, services: Iterable[str]) -> str | None:
    try:
        for service in services:
            links.outbound(service)
    except LinkKeyError as error:
        return str(error)
    return None
