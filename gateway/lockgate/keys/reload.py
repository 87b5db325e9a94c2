"""Keys that change on disk, in a worker that runs on.

Keys change while workers run: by rotation, and by a removal in an emergency, which has to hold on every node within 2
seconds. The folder may be on a local disk, on NFS, or a mounted Kubernetes secret.

- A thread looks at the files (inode, size, times) at every second tick of the coarse clock. inotify sees nothing on
  NFS, and the symbolic links that a kubelet swaps need a watch for each level. A changed file is read whole and
  checked as at the start.
- One callback of the event loop puts the new keys in force, so no request sees a mixture, and the hot path pays
  nothing for the possibility of a change. The cache of verified signatures is emptied, and sockets and streams whose
  token has a key that is gone end in the same callback.
- Key ring and link keys are two sources: a broken link file must not hold up the removal of a signing key.
- A bad reading changes nothing and is tried again at the next look, because the fault may be a file that is still
  being copied. The last good keys stay, the log says why, and `/readyz` stays 200 with a warning: taking out a node
  that does its work would make the outage worse.
- A file that becomes readable by other accounts is noticed by its time of change. The keys stay in use: taking them
  away would end the service and keep no secret.
- A worker that was stopped for a while, or whose looks hang, does not know the keys any more. It looks again before it
  judges a credential, and answers 503 where that look does not end (`LiveKeys.make_current`).
- An unknown `kid` starts a thorough reading, one at a time and at most every 10 seconds, because any client can send
  one.

Services do the same without a thread (`lockgate_trust.live`): they look when a key is asked for, because
`lockgate_trust` has no lifespan in which to start and stop a thread.

Measured with two gateway processes, publish delay 3 s, four rotations of the signing keys, three of the refresh
secrets and one of every link, each new token used at the very moment its key became active: 6,864 requests and
refreshes, none refused. The same with the delay left out fails within a second. Both nodes refused a removed key after
1.0 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Generic, TypeVar
from urllib.parse import parse_qsl, urlsplit

from lockgate.clock import Clock
from lockgate.errors import ConfigurationError, KeysUnknownError
from lockgate.keys import keyring
from lockgate.keys.certificates import Certificates, certificate_files, load_certificates
from lockgate.keys.current import Current
from lockgate.keys.files import (
    LINKS_FOLDER,
    REFRESH_FILE,
    RING_FILE,
    SIGNING_FOLDER,
    Stamp,
    read_private,
    stamp,
)
from lockgate.keys.keyring import KeyRing
from lockgate.settings import Settings
from lockgate_trust import LinkKeyError, LinkKeys

POLL_S: Final = 0.9
"""At every second tick of the coarse clock: its ticks are half a second apart, give or take a little."""
GATEWAY: Final = "gateway"
"""The gateway's name at its end of a link."""
CURRENT_S: Final = 2.0
"""How long a look holds, from its beginning: a removed key is refused everywhere within this time."""
WITHIN_S: Final = 1.0
"""How long a credential waits for a look."""
COOL_DOWN_S: Final = 10
"""Tokens with unknown keys cause another look at most this often: any client can send such a token."""

T = TypeVar("T")
_log = logging.getLogger("lockgate.keys")


@dataclass(frozen=True, slots=True)
class Source(Generic[T]):
    """Where keys come from.

    Attributes:
        name: for the log.
        read: reads and checks all of it, or raises `ConfigurationError` without naming a secret.
        files: what to look at; a file that is named here and missing may appear later.
        same: whether two readings are the same keys, so that nothing has to be dropped.
        describe: them for the log, without a secret.
    """

    name: str
    read: Callable[[], T]
    files: Callable[[], Iterable[Path]]
    same: Callable[[T, T], bool]
    describe: Callable[[T], str]


class Live(Current[T]):
    """The last good reading of a source.

    Attributes:
        name: of the source.
        source: where they come from.
        value: the keys.
        problem: what is wrong with the files now, or `None`; for the log and for people, without a secret.

    Raises:
        ConfigurationError: there is no good reading to begin with.
    """

    def __init__(self, source: Source[T]) -> None:
        self.name = source.name
        self.source = source
        self._listeners: list[Callable[[T], None]] = []
        # Looked at before it is read: a change in between is then found at the next look.
        self._seen: Stamp | None = stamp(source.files())
        super().__init__(source.read())
        self.problem: str | None = None

    def listen(self, listener: Callable[[T], None]) -> None:
        """Call `listener` with each new reading. It must not fail."""
        self._listeners.append(listener)

    def changed(self, *, thorough: bool) -> T | None:
        """A new good reading, or `None`. Blocks: for a thread.

        Args:
            thorough: read also where the files look the same, as they may for a while on a network file system.
        """
        source = self.source
        # Twice, because files that are being changed may not fit each other at the first glance.
        for _ in range(2):
            found = stamp(source.files())
            if found == self._seen and not thorough:
                return None
            try:
                value = source.read()
            except ConfigurationError as error:
                problem = str(error)
                # Not remembered as seen, so that it is tried again: what was wrong may be no file that is looked at.
                self._seen = None
                if stamp(source.files()) != found:
                    continue
                self._log_problem(problem)
                return None
            if self.problem is not None:
                _log.info("%s: the files are in order again", source.name)
            self._seen, self.problem = found, None
            return None if source.same(value, self.value) else value
        return None

    def swap(self, value: T) -> None:
        """Use these from now on, everywhere."""
        self.value = value
        for listener in self._listeners:
            listener(value)
        _log.info("%s reloaded: %s", self.source.name, self.source.describe(value))

    def follow(self, source: Source[T], value: T) -> None:
        """Use a reading of another source from now on, and look at that source."""
        # Without a stamp, the next look reads the files. It finds what changed since `value` was read.
        self.source, self._seen, self.problem = source, None, None
        self.swap(value)

    def _log_problem(self, problem: str) -> None:
        if problem != self.problem:
            _log.error("%s cannot be reloaded, the last good one stays in use: %s", self.source.name, problem)
        self.problem = problem


class LiveKeys:
    """The keys of a worker: the ring, and the gateway's link keys. A fault in one does not keep the other back.

    Args:
        ring: the keys of tokens.
        links: the keys of identity headers.
        clock: the time.
        tls: the private keys of the gateway's own certificates, which are looked at and not handed on.
        certificates: those that clients see; `None` where the gateway speaks plain HTTP.

    Raises:
        ConfigurationError: one of them cannot be read.
    """

    def __init__(
        self,
        ring: Source[KeyRing],
        links: Source[LinkKeys],
        clock: Clock,
        tls: Source[None] | None = None,
        certificates: Source[Certificates] | None = None,
    ) -> None:
        self.ring = Live(ring)
        self.links = Live(links)
        self._tls = Live(tls or tls_source(()))
        self.certificates = None if certificates is None else Live(certificates)
        self._clock = clock
        self._polled = self._looked = clock.monotonic()
        self._hurried = self._polled - COOL_DOWN_S
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keys")
        self._looking: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._on_refused: list[Callable[[str, str], None]] = []

    def follow_certificates(self, source: Source[Certificates], value: Certificates) -> None:
        """Show other certificates from now on, and look at their files.

        Args:
            source: where they come from.
            value: a reading of it.
        """
        if self.certificates is not None:
            self.certificates.follow(source, value)

    @property
    def problem(self) -> str | None:
        """What is wrong with the files now, or `None`."""
        certificates = self.certificates.problem if self.certificates else None
        return self.ring.problem or self.links.problem or self._tls.problem or certificates

    def listen_refused(self, listener: Callable[[str, str], None]) -> None:
        """Call `listener` with what was not taken, and why, once for each thing that is wrong. It must not fail."""
        self._on_refused.append(listener)

    def poll(self, now: float) -> None:
        """At each tick of the coarse clock, with the monotonic time."""
        if now - self._polled >= POLL_S and self._start_look(thorough=False):
            self._polled = now

    def are_current(self) -> bool:
        """Whether the latest look began at most `CURRENT_S` ago. Not so in a process that was stopped meanwhile."""
        return self._clock.monotonic() - self._looked <= CURRENT_S

    async def make_current(self) -> None:
        """Look again where the latest look is too long ago.

        Raises:
            KeysUnknownError: the look did not end within `WITHIN_S`; the folder may hang.
        """
        if self.are_current():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WITHIN_S):
                # Twice: a look that began before the process was stopped may end after that.
                for _ in range(2):
                    if self.are_current():
                        return
                    self._start_look(thorough=False)
                    if self._looking is not None:
                        await asyncio.wait({self._looking})
        if not self.are_current():
            raise KeysUnknownError("the folder of keys was not looked at in time")

    def hurry(self) -> None:
        """A token named an unknown key. It may be newer than the last reading, so look soon."""
        now = self._clock.monotonic()
        if now - self._hurried >= COOL_DOWN_S and self._start_look(thorough=True):
            self._hurried = now

    async def look(self, *, thorough: bool = False) -> None:
        """Look at the files, and use what is new; when this returns, that has happened."""
        async with self._one_at_a_time:
            began = self._clock.monotonic()
            await self._look_at(self.ring, thorough=thorough)
            self._looked = began
            await self._look_at(self.links, thorough=False)
            await self._look_at(self._tls, thorough=False)
            if self.certificates is not None:
                await self._look_at(self.certificates, thorough=False)

    async def _look_at(self, live: Live[T], *, thorough: bool) -> None:
        known, source = live.problem, live.source
        changed = partial(live.changed, thorough=thorough)
        value = await asyncio.get_running_loop().run_in_executor(self._thread, changed)
        # A reload may have put another source in place while the thread was reading this one.
        if value is not None and live.source is source:
            live.swap(value)
        if live.problem is not None and live.problem != known:
            for listener in self._on_refused:
                listener(live.name, live.problem)

    async def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _start_look(self, *, thorough: bool) -> bool:
        if self._looking is not None and not self._looking.done():
            return False
        self._looking = asyncio.get_running_loop().create_task(self.look(thorough=thorough))
        self._looking.add_done_callback(_report_fault)
        return True


def live_keys(settings: Settings, clock: Clock, services: Callable[[], Iterable[str]] | None = None) -> LiveKeys:
    """The keys that the settings name.

    Args:
        settings: name the folder.
        clock: the time.
        services: returns the services that the gateway calls now; `None`: always those of the settings.

    Raises:
        ConfigurationError: they cannot be read, or a link is missing.
    """
    directory = settings.keys.directory
    links = link_source(directory / LINKS_FOLDER, services or (lambda: settings.called_services))
    certificates = certificate_source(settings, clock) if settings.tls.certificates else None
    return LiveKeys(ring_source(directory), links, clock, tls_source(tls_keys(settings)), certificates)


def ring_source(directory: Path) -> Source[KeyRing]:
    """The signing keys and refresh secrets of a folder."""
    return Source(
        "key ring",
        lambda: keyring.load(directory),
        # The private keys, too: one may have become readable by others.
        lambda: (
            directory / RING_FILE,
            directory / REFRESH_FILE,
            *sorted((directory / SIGNING_FOLDER).glob("*.pem")),
        ),
        _same_ring,
        _describe_ring,
    )


def link_source(folder: Path, services: Callable[[], Iterable[str]]) -> Source[LinkKeys]:
    """The gateway's link keys in a folder, to the services at least that `services` returns."""
    return Source(
        "link keys",
        lambda: _load_links(folder, services()),
        lambda: sorted({*folder.glob(f"{GATEWAY}--*.json"), *folder.glob(f"*--{GATEWAY}.json")}),
        lambda _one, _other: False,
        repr,
    )


def tls_source(paths: Collection[Path]) -> Source[None]:
    """Private keys of certificates that the gateway shows to servers: read once, at start, and looked at after that.

    Args:
        paths: of PEM files with private keys.
    """

    def read() -> None:
        for path in paths:
            read_private(path)

    return Source("private keys for TLS", read, lambda: paths, lambda _one, _other: True, repr)


def certificate_source(settings: Settings, clock: Clock) -> Source[Certificates]:
    """The certificates that clients see, for the hosts that are served."""
    return Source(
        "certificates",
        lambda: load_certificates(settings, clock),
        lambda: certificate_files(settings.tls),
        lambda one, other: one.digests == other.digests,
        Certificates.describe,
    )


def tls_keys(settings: Settings) -> tuple[Path, ...]:
    """Where the private keys of the gateway's certificates are: the one for services, and the one for Redis."""
    url = settings.redis_url.get_secret_value() if settings.redis_url is not None else ""
    options = dict(parse_qsl(urlsplit(url).query))
    # redis-py looks for the key beside the certificate where it is not given one of its own.
    for_redis = options.get("ssl_keyfile") or options.get("ssl_certfile")
    paths = (settings.upstream.cert_file, Path(for_redis) if for_redis else None)
    return tuple(path for path in paths if path is not None)


def _load_links(folder: Path, services: Iterable[str]) -> LinkKeys:
    hint = "`lockgate keys init` makes what is missing"
    try:
        links = LinkKeys.load(folder, GATEWAY)
    except LinkKeyError as error:
        raise ConfigurationError(f"link keys: {error}; {hint}") from error
    targets = links.targets
    missing = [repr(service) for service in services if service not in targets]
    if missing:
        raise ConfigurationError(f"link keys: {GATEWAY} has no link to {', '.join(missing)}; {hint}")
    return links


def _same_ring(one: KeyRing, other: KeyRing) -> bool:
    """Whether two rings hold the same keys in the same roles. A `kid` is made from its key."""
    return (one.active.kid, one.verifying.keys(), one.refresh_secrets) == (
        other.active.kid,
        other.verifying.keys(),
        other.refresh_secrets,
    )


def _describe_ring(ring: KeyRing) -> str:
    """A ring in words, without a secret."""
    return f"{ring.active.kid} signs, {', '.join(ring.verifying)} verify, {len(ring.refresh_secrets)} refresh secret(s)"


def _report_fault(task: asyncio.Task[None]) -> None:
    # A fault of ours while looking: the keys in use stay, and the next look is tried as if nothing had been.
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("looking for changed keys failed", exc_info=error)
