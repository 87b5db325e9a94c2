"""Every key in Redis: its name, and how long it lives. No other module spells one.

All keys of one user carry the same hash tag, so that Redis Cluster keeps them in one slot and a script may touch them
together. The tag is the user's id in base64url, because braces in an id would move its keys to other slots.

| key                      | value                                                   | lives                           |
|--------------------------|---------------------------------------------------------|---------------------------------|
| lg:{user}:jti:<jti>      | the jti blocklist                                       | the token's rest + 3 leeways    |
| lg:{user}:ended:<sid>    | the session has ended                                   | access-token life + 3 leeways   |
| lg:{user}:epoch          | counter; tokens with a smaller `epoch` are dead         | kept                            |
| lg:{user}:session:<sid>  | hash: the family of refresh tokens                      | until idle or absolute end      |
| lg:{user}:held:<sid>     | a cookie's access token, sealed with what it alone tells | the token's life               |
| lg:{user}:sessions       | sorted set of session ids by absolute end               | as its longest member           |
| lg:rate:{…}:<window>     | counter of one window of one rate limit                 | two windows; one day or month   |
| lg:{user}:sockets        | sorted set of the leases of open WebSockets by end      | 30 seconds after a renewal      |
| lg:{user}:tickets        | sorted set of the user's tickets by end                 | 30 seconds after the latest     |
| lg:{user}:blocked        | the user was blocked a moment ago                       | longer than a login takes       |
| lg:login:{login}:<what>  | hash: attempts at passwords; account, address, all      | until drained, minutes          |
| lg:login:{login}:attempt:<name> | one that can be taken back                       | 2 minutes                       |
| lg:allowance:<name>:<net>| hash: what an address has used of something costly      | one window                      |
| lg:captcha:<id>          | a captcha that was not used yet                         | 5 minutes                       |
| lg:ticket:<digest>       | an access token, sealed with what only the ticket tells | 30 seconds                      |
| lg:clients               | hash of OAuth clients by id                             | kept                            |
| lg:audit                 | stream: the audit trail                                 | capped by length                |
| lg:keys:lock             | which node is changing the keys on disk                 | 30 seconds                      |

Redis measures all of it by its own clock, not by the nodes'.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from lockgate.codec import base64url
from lockgate.stores.packed import PackedKeys

KEYS_LOCK: Final = "lg:keys:lock"
KEYS_LOCK_MS: Final = 30_000
ENDED_CHANNEL: Final = "lg:ended"
"""Published to when a token or session is revoked: `jti:<jti>`, `sid:<sid>`; `sub:<sub>` for everything of a user."""

NAMES: Final = "lg:*"
"""What every key and every channel of the gateway looks like."""
PROBES: Final = ("lg:{1}:probe", "lg:{2}:probe")
"""Never written; in two slots of a Cluster. Read to see whether keys of ours may be."""
TICKET_LIFE_S: Final = 30
"""How long a one-time ticket may be used."""
AUDIT_STREAM: Final = "lg:audit"
CLIENTS: Final = "lg:clients"
SOCKET_LEASE_MS: Final = 30_000
"""How long an open WebSocket counts for its user when its worker does not say that it is still open."""
BLOCKED_LIFE_S: Final = 120
"""How long a block is remembered here, beside the account itself: longer than any login that was under way takes."""


ANY_SESSION: Final = "lg:{*}:session:*"
"""What the keys of all sessions look like, to SCAN for."""


class UserKeys(NamedTuple):
    """The key names of one user."""

    tag: str

    @classmethod
    def of(cls, sub: str) -> UserKeys:
        """The keys of the user `sub`."""
        return cls("lg:{" + base64url.encode(sub.encode("utf-8")) + "}")

    def jti(self, jti: str) -> str:
        """The blocklist entry of a token."""
        return f"{self.tag}:jti:{jti}"

    def ended(self, sid: str) -> str:
        """Set while access tokens of an ended session could still be alive."""
        return f"{self.tag}:ended:{sid}"

    @property
    def blocked(self) -> str:
        """Set while a login that began before the user was blocked could still be under way."""
        return f"{self.tag}:blocked"

    @property
    def epoch(self) -> str:
        """The logout-everywhere counter."""
        return f"{self.tag}:epoch"

    def session(self, sid: str) -> str:
        """The family of refresh tokens."""
        return f"{self.tag}:session:{sid}"

    def held(self, sid: str) -> str:
        """The access token that a session cookie stands for."""
        return f"{self.tag}:held:{sid}"

    @property
    def sessions(self) -> str:
        """The index of the user's sessions."""
        return f"{self.tag}:sessions"

    @property
    def tickets(self) -> str:
        """The user's tickets."""
        return f"{self.tag}:tickets"

    @property
    def sockets(self) -> str:
        """The leases of the user's open WebSockets."""
        return f"{self.tag}:sockets"


def session_of(key: bytes) -> tuple[str, str]:
    """User and session id of a key that `ANY_SESSION` has found."""
    tag, _, sid = key.decode("ascii").removeprefix("lg:{").partition("}:session:")
    return base64url.decode(tag).decode("utf-8"), sid


KEYS_OF_A_QUESTION: Final = 3
"""How many keys each question of admission has, one after the other; they share a hash tag."""


def admission_keys(sub: str, jti: str, sid: str) -> PackedKeys:
    """The three keys that tell whether a token is still welcome: its own, its session's, the user's epoch."""
    keys = UserKeys.of(sub)
    names = keys.jti(jti), keys.ended(sid), keys.epoch
    return PackedKeys.of(*(name.encode("utf-8") for name in names))


def rate_key(route: str, per: str, who: str, window: str, index: int) -> bytes:
    """The counter of one window of a rate limit; consecutive windows share a slot.

    Args:
        route: its name.
        per: what is counted by.
        who: the subject of the counter; any text.
        window: its length in seconds, or `day` or `month`, so that a limit that was changed does not count on.
        index: which window since the epoch; which month since the year 0.
    """
    tag = base64url.encode(who.encode("utf-8"))
    return f"lg:rate:{{{route}:{per}:{window}:{tag}}}:{index}".encode("ascii")


def login_keys(account: str, network: str, attempt: str) -> tuple[str, str, str, str]:
    """The counters of attempts at passwords: one account's, one network's, that of all; and one attempt.

    All of them share a slot, because one script counts an attempt in three places at once.
    """
    prefix = "lg:login:{login}"
    counters = f"{prefix}:account:{account}", f"{prefix}:address:{network}", f"{prefix}:all"
    return *counters, f"{prefix}:attempt:{attempt}"


def allowance_key(name: str, network: str) -> str:
    """What a network has used of something that costs the gateway work."""
    return f"lg:allowance:{name}:{network}"


def captcha_key(captcha: str) -> str:
    """There until the captcha has been used."""
    return f"lg:captcha:{captcha}"


def slack_ms(leeway_s: float) -> int:
    """How much longer than its life by the clock of Redis a token may be accepted.

    Args:
        leeway_s: how far the clock of a node may differ from another's, or from that of Redis. It counts three times:
            the node that issued the token may be ahead, the one that verifies it behind, and it is added to `exp`.
    """
    return math.ceil(3 * leeway_s * 1000)


def ended_life_ms(access_life_s: float, leeway_s: float) -> int:
    """How long the end of a session is remembered: until its youngest access token is dead on every node."""
    return math.ceil(access_life_s * 1000) + slack_ms(leeway_s)


def ticket_key(digest: str) -> str:
    """A one-time ticket.

    Args:
        digest: of the ticket; the ticket itself is in no key.
    """
    return f"lg:ticket:{digest}"
