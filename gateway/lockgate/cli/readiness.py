"""How a worker tells its parent that it accepts requests: a pipe for each, because any worker may take a probe.

All workers of a node accept on one socket, so a response on it says that some worker responds, and not which.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lockgate.cli.process import Process
    from lockgate.cli.supervisor import Child, Probe


class Readiness:
    """The parent's side: a probe of one worker, for each of its lives.

    Args:
        and_then: is asked when the worker has told; `None`: nothing more is asked.

    Attributes:
        descriptor: where the worker tells, see `tell_parent`.
    """

    def __init__(self, and_then: Probe | None = None) -> None:
        self._told, self.descriptor = os.pipe()
        os.set_blocking(self._told, False)
        self._and_then = and_then
        self._is_ready = False

    async def was_told(self) -> bool:
        """Whether this life of the worker has told; the probe of a child."""
        self._look()
        return self._is_ready and (self._and_then is None or await self._and_then())

    def forget_at_launch(self, child: Child) -> Child:
        """The child, of which each life has to tell anew."""

        async def launch(this: Child) -> Process:
            # The life before may have told just before its end.
            self._look()
            self._is_ready = False
            return await child.launch(this)

        return replace(child, launch=launch)

    def _look(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._is_ready = bool(os.read(self._told, 1024)) or self._is_ready


def tell_parent(descriptor: int) -> None:
    """Say that this worker accepts requests. A parent that has gone does not matter."""
    with contextlib.suppress(OSError):
        os.write(descriptor, b".")
        os.close(descriptor)
