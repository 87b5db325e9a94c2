"""A history of requests and responses as clients see them, and a checker of the rules for every history.

In the manner of Jepsen: the checker knows nothing of how a gateway works. It sees when each request was begun and when
its response had arrived, and nothing else; so a client could have found every fault that it finds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

OK = 200
REFUSED = 400


class Op(Enum):
    """The kinds of requests."""

    LOGIN = auto()
    REFRESH = auto()
    CALL = auto()
    REVOKE = auto()
    LOGOUT = auto()
    LOGOUT_ALL = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Did:
    """One request and its response.

    Attributes:
        user, session: of the token that was presented; of a login, the user that tried and the session that began.
        token: the presented token: a refresh token to REFRESH, an access token to all else; empty for LOGIN.
        begun, ended: before it was sent, and after the response was read; seconds of one clock.
        status: of the response; `None`: there was none, so the change may have happened or not.
        access, refresh: the tokens that LOGIN and REFRESH issued.
        seen: user and session that the response gives for the token.
    """

    op: Op
    user: str
    session: str = ""
    token: str = ""
    begun: float
    ended: float
    status: int | None = OK
    access: str = ""
    refresh: str = ""
    seen: tuple[str, str] = ("", "")

    @property
    def worked(self) -> bool:
        """Whether the client was told so."""
        return self.status is not None and OK <= self.status < REFUSED


def violations(history: Sequence[Did]) -> list[str]:
    """Everything in a history that must not be, one line each."""
    return [
        *_welcome_after_the_end(history),
        *_several_successors(history),
        *_several_leaves(history),
        *_crossed_identities(history),
    ]


def _welcome_after_the_end(history: Sequence[Did]) -> Iterator[str]:
    """No 200 after an acknowledged end: of the token, of its session, or of everything that its user had by then."""
    known_since = {token: did.ended for did in history if did.worked for token in (did.access, did.refresh) if token}
    ends: defaultdict[tuple[str, str], list[Did]] = defaultdict(list)
    for did in history:
        for what in _ended_by(did):
            ends[what].append(did)
    for use in history:
        if not use.worked or use.op not in (Op.CALL, Op.REFRESH):
            continue
        for end in (*ends["token", use.token], *ends["session", use.session], *ends["user", use.user]):
            # What was handed out while everything was being ended may have come before or after.
            known = end.op is not Op.LOGOUT_ALL or known_since[use.token] < end.begun
            if use.begun > end.ended and known:
                yield f"after {end}\n  still welcome: {use}"


def _ended_by(did: Did) -> Iterator[tuple[str, str]]:
    """The kind and name of the thing that must not work after this."""
    if did.op is Op.REVOKE and did.worked:
        yield "token", did.token
    # A refresh that was refused is an end, too: nothing of that session may work any more.
    if (did.op is Op.LOGOUT and did.worked) or (did.op is Op.REFRESH and did.status == REFUSED):
        yield "session", did.session
    if did.op is Op.LOGOUT_ALL and did.worked:
        yield "user", did.user


def _several_successors(history: Sequence[Did]) -> Iterator[str]:
    successors: defaultdict[str, set[str]] = defaultdict(set)
    for did in history:
        if did.op is Op.REFRESH and did.worked:
            successors[did.token].add(did.refresh)
            if len(successors[did.token]) > 1:
                yield f"another successor than before: {did}"


def _several_leaves(history: Sequence[Did]) -> Iterator[str]:
    """A family is a chain: one end that was not used yet, and nothing before it works once what follows was used."""
    refreshes = [did for did in history if did.op is Op.REFRESH and did.worked]
    used = {did.token for did in refreshes}
    leaves: defaultdict[str, set[str]] = defaultdict(set)
    for did in history:
        if did.refresh and did.refresh not in used:
            leaves[did.session].add(did.refresh)
    yield from (f"session {session} has {len(ends)} live leaves" for session, ends in leaves.items() if len(ends) > 1)
    first_use = {did.token: did for did in sorted(refreshes, key=lambda did: did.ended, reverse=True)}
    for did in refreshes:
        after = first_use.get(did.refresh)
        if after is not None and after.ended < did.begun:
            yield f"its successor was used already: {did}"


def _crossed_identities(history: Sequence[Did]) -> Iterator[str]:
    for did in history:
        if did.worked and did.op in (Op.CALL, Op.LOGIN, Op.REFRESH) and did.seen != (did.user, did.session):
            yield f"taken for somebody else: {did}"
