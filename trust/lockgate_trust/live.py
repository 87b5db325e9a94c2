"""Link keys that follow their files, so that a rotation needs no restart."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lockgate_trust.keys import LinkKey, LinkKeyError, LinkKeys

EVERY_S: Final = 1.0

_LOGGER: Final = logging.getLogger("lockgate.trust")


class LiveLinkKeys(LinkKeys):
    """The link keys of one service, as its files have them now; for all that takes `LinkKeys`.

    When it is asked for a key, and at most every `every` seconds, it looks whether a file was replaced, changed, added
    or removed; then all of them are read anew, and taken whole or not at all. Files that cannot be used change nothing:
    the last good keys stay, and the log says why. No thread and no timer: a service that gets no request looks at
    nothing.

    Args:
        directory: where the files are.
        me: the name of the service that holds them.
        clock: monotonic seconds.
        every: seconds between two looks.

    Raises:
        LinkKeyError: as for `LinkKeys.load`.
    """

    __slots__ = ("_clock", "_every", "_folder", "_looked", "_problem", "_seen")

    def __init__(
        self,
        directory: str | os.PathLike[str],
        me: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        every: float = EVERY_S,
    ) -> None:
        super().__init__(me=me)
        self._folder = Path(directory)
        self._clock = clock
        self._every = every
        self._looked = clock()
        # Looked at before they are read: what changes in between is found at the next look.
        self._seen = self._file_stamps()
        self._problem: str | None = None
        self._take_keys(LinkKeys.load(directory, me))

    def outbound(self, target: str) -> LinkKey:
        """The key that signs requests to `target` now: ask for each request, and keep none.

        Raises:
            LinkKeyError: there is no link to it.
        """
        self._follow_files()
        return super().outbound(target)

    def inbound(self, key_id: str) -> LinkKey | None:
        """The key of that id with which another service signs towards this one now, or None."""
        self._follow_files()
        return super().inbound(key_id)

    @property
    def problem(self) -> str | None:
        """What is wrong with the files now, or None: for the log and for operators, without a secret. Looks first."""
        self._follow_files()
        return self._problem

    def _follow_files(self) -> None:
        now = self._clock()
        if now - self._looked < self._every:
            return
        self._looked = now
        found = self._file_stamps()
        if found == self._seen:
            return
        try:
            fresh = LinkKeys.load(self._folder, self.me)
        except LinkKeyError as error:
            # Not remembered as seen, so that it is tried again: files may be in the middle of being changed.
            if str(error) != self._problem:
                _LOGGER.error("link keys cannot be reloaded, the last good ones stay: %s", error)  # noqa: TRY400 - it says all
            self._problem = str(error)
            return
        self._seen, self._problem = found, None
        self._take_keys(fresh)
        _LOGGER.info("link keys reloaded: %r", self)

    def _take_keys(self, fresh: LinkKeys) -> None:
        self._signing, self._inbound, self._origins = fresh._signing, fresh._inbound, fresh._origins  # noqa: SLF001 - our own class

    def _file_stamps(self) -> tuple[tuple[str, int, int, int, int], ...]:
        found = []
        for path in sorted({*self._folder.glob(f"{self.me}--*.json"), *self._folder.glob(f"*--{self.me}.json")}):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((path.name, status.st_ino, status.st_size, status.st_ctime_ns, status.st_mtime_ns))
        return tuple(found)
