"""A bounded memory of the signatures that have been used."""

from typing import Final

from trust.signature import DEFAULT_LEEWAY_S, Refused

DEFAULT_CAPACITY: Final = 65_536


class ReplayGuard:
    """Lets each signature pass once, for as long as it is valid.

    Its limits: it remembers for one process, so a captured request may be played once at each other process of the same
    service while it lasts (10 s); it forgets when the process restarts. It is meant for one event loop and is not safe
    to share between threads. Only valid signatures may be shown to it, so that nobody without a link key can fill it.

    Args:
        capacity: how many signatures are remembered, about 150 bytes each, for 15 s each. When it is reached, further
            ones are refused rather than older ones forgotten. The default lasts for 4,300 requests per second.
    """

    __slots__ = ("_capacity", "_seen", "_size", "_swept")

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self._capacity = capacity
        # By the second in which they expire: a whole second is forgotten in one step.
        self._seen: dict[int, set[bytes]] = {}
        self._size = 0
        self._swept = 0

    def __len__(self) -> int:
        return self._size

    def claim(self, signature: bytes, *, expires: int, now: float) -> Refused | None:
        """Use a signature up.

        Args:
            signature: the bytes of a valid signature.
            expires: its end, in seconds since the epoch; the signature covers it, so the same one has the same end.
            now: seconds since the epoch.

        Returns:
            None the first time, afterwards `Refused.REPLAYED`; `Refused.REPLAY_MEMORY_FULL` when there is no room.
        """
        self._forget_expired(now)
        same_end = self._seen.get(expires, ())
        if signature in same_end:
            return Refused.REPLAYED
        if self._size >= self._capacity:
            return Refused.REPLAY_MEMORY_FULL
        self._seen.setdefault(expires, set()).add(signature)
        self._size += 1
        return None

    def _forget_expired(self, now: float) -> None:
        # Kept for the leeway longer than valid, so that a clock set back by as much brings none back to life.
        horizon = int(now - DEFAULT_LEEWAY_S)
        if horizon == self._swept:
            return
        self._swept = horizon
        for expires in [second for second in self._seen if second <= horizon]:
            self._size -= len(self._seen.pop(expires))
