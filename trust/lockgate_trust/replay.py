"""A bounded memory of the signatures that have been used."""

from typing import Final

from lockgate_trust.profile import LEEWAY_S, Refused

DEFAULT_CAPACITY: Final = 131_072


class ReplayGuard:
    """Lets each signature pass once, for as long as it is accepted.

    Its limits: it remembers for one process, so a captured request may be played once at each other process of the
    same service while it lasts (10 s, and the leeway), by an attacker that reads the traffic between gateway and
    service; it forgets when the process restarts. It is meant for one event loop and is not safe to share between
    threads. Only valid signatures may be shown to it, so that only holders of a link key can fill it.

    Args:
        capacity: how many signatures are remembered, about 150 bytes each, for 30 s each. When it is reached, further
            ones are refused rather than older ones forgotten. The default lasts for 4,300 requests per second.
        leeway_s: how long after its end a signature is still accepted, as `verify` has it.
    """

    __slots__ = ("_capacity", "_leeway_s", "_seen", "_size", "_swept")

    def __init__(self, capacity: int = DEFAULT_CAPACITY, *, leeway_s: float = LEEWAY_S) -> None:
        self._capacity = capacity
        self._leeway_s = leeway_s
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
        # Once for the leeway in which it is still accepted; and once more, so that a clock set back by as much brings
        # none back to life.
        horizon = int(now - 2 * self._leeway_s)
        if horizon == self._swept:
            return
        self._swept = horizon
        for expires in [second for second in self._seen if second <= horizon]:
            self._size -= len(self._seen.pop(expires))
