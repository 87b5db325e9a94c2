"""Sessions that a browser holds by a cookie alone: what the cookie stands for is an access token that never leaves.

Redis holds that token for as long as it lives, sealed with a key that only the cookie gives. A worker that meets a
cookie opens it once, has the verifier judge it like one that came in `Authorization`, and from then on asks admission
about it like about any other: so what ends a token ends a cookie's, on every node, with the next request. When the
token is old, the account is read again and the next one is made, as at a refresh (R-147). The cookie stays the same:
no answer but those to a login and to a logout says anything of it, so no race can take it away.

docs/decisions/0080 says why the cookie stands for a token and never changes.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from lockgate.accounts.users import Account
from lockgate.admission.gate import Link
from lockgate.clock import Clock
from lockgate.codec.sealing import derive_key, seal, unseal
from lockgate.edge.headers import HeaderFacts
from lockgate.errors import AccountsUnavailableError, Reason, Refusal, StoreUnavailableError
from lockgate.identity.bearer import format_gate
from lockgate.identity.model import UnverifiedToken, VerifiedClaims
from lockgate.identity.session_cookie import NAMES, CookieCodec, Mode, SessionCookie
from lockgate.observe.audit import Event
from lockgate.sessions.parts import SessionParts, TokenParts
from lockgate.sessions.session_store import Outcome, Session
from lockgate.stores.layout import UserKeys
from lockgate.stores.link import AWAY, await_callback
from lockgate_common.background import BackgroundTasks

MAX_KNOWN: Final = 10_000
"""How many cookies a worker remembers the token of."""
FRESH_SHARE: Final = 0.8
"""Of a token's life; then the next one is made while requests go on with this one."""
RETRY_S: Final = 5.0
"""Until that is tried again, where it did not succeed."""

_REFUSED: Final = {Outcome.UNKNOWN: Reason.COOKIE_UNKNOWN, Outcome.EXPIRED: Reason.COOKIE_EXPIRED}

_log = logging.getLogger("lockgate.sessions")


@dataclass(frozen=True, slots=True)
class CookieSession:
    """What a browser is told of the session it holds.

    Attributes:
        expires_in: until the account is read again, seconds.
        refresh_expires_in: until the session ends in any case, seconds.
    """

    session_id: str
    expires_in: int
    refresh_expires_in: int
    scope: str


@dataclass(slots=True)
class _CachedToken:
    """The token of a cookie, as this worker met it.

    Attributes:
        credentials: by which the verifier remembers it.
        renew_at: Unix seconds from which on the next one is wanted.
    """

    credentials: bytes
    renew_at: float


class _RenewedToken(NamedTuple):
    token: UnverifiedToken
    held: CookieSession


class CookieSessions:
    """Finds the token that a session cookie stands for.

    Args:
        parts: what all calls about sessions share.
        tokens: makes and reads tokens.
        mode: whether there are cookies, and of which kind.
        link: to Redis, which holds sealed tokens. Admission's: a node that has just started is asked for the tokens of
            all its users at once, which is one write there, and a connection for each with a client.
        keys: the secrets in use; the first makes cookies, each reads them.
        clock: the time.

    Attributes:
        mode: as given.
    """

    def __init__(  # noqa: PLR0913 - beside what is shared, a cookie has secrets and a link of its own
        self,
        parts: SessionParts,
        tokens: TokenParts,
        *,
        mode: Mode,
        link: Link,
        keys: Callable[[], Sequence[bytes]],
        clock: Clock,
    ) -> None:
        self.mode = mode
        self._name = NAMES[mode]
        self._link = link
        self._session_store = parts.session_store
        self._accounts = parts.accounts
        self._access = tokens.access
        self._verifier = tokens.verifier
        self._codec = CookieCodec(keys)
        self._keys = keys
        self._known_by = keys()
        self._clock = clock
        self._audit = parts.audit
        self._known: OrderedDict[bytes, _CachedToken] = OrderedDict()
        self._renewals: dict[bytes, asyncio.Task[_RenewedToken | Refusal]] = {}
        self._tasks = BackgroundTasks()

    async def close(self) -> None:
        """Give up what is under way."""
        await self._tasks.close()

    # --- without waiting ---------------------------------------------------------------------------------------------

    def presented(self, facts: HeaderFacts) -> bytes | Refusal | None:
        """The value of a request's session cookie; `None` where it has none, or none counts here."""
        values = [value for name, value in facts.session_cookies if name == self._name]
        if len(values) > 1:
            return Refusal(Reason.REPEATED_CREDENTIALS)
        return values[0] if values else None

    def read(self, value: bytes) -> SessionCookie | Refusal:
        """What a cookie says."""
        return self._codec.read(value) or Refusal(Reason.COOKIE_MALFORMED)

    def recall(self, value: bytes, request_id: str) -> VerifiedClaims | None:
        """The claims of a cookie's token where this worker has them and they are still good.

        Args:
            value: of the cookie.
            request_id: of the request, for what it may set off.
        """
        if self._keys() is not self._known_by:
            self._known_by = self._keys()
            self._known.clear()
        known = self._known.get(value)
        if known is None:
            return None
        claims = self._verifier.recall(known.credentials)
        if not isinstance(claims, VerifiedClaims):
            del self._known[value]
            return None
        now = self._clock.now()
        if now >= known.renew_at:
            known.renew_at = now + RETRY_S
            cookie = SessionCookie(value, claims.principal.sub, claims.principal.sid)
            self._tasks.start(self._catch_up(cookie, request_id))
        return claims

    # --- with Redis --------------------------------------------------------------------------------------------------

    async def begin(self, session: Session, account: Account) -> tuple[SessionCookie, CookieSession]:
        """The cookie of a session that has just begun.

        Raises:
            StoreUnavailableError: what it stands for could not be stored.
        """
        cookie = self._codec.make(session.sub, session.sid)
        return cookie, (await self._issue_token(cookie, session, account)).held

    async def claims(self, cookie: SessionCookie, request_id: str) -> VerifiedClaims | Refusal:
        """The claims of a cookie's token.

        Raises:
            StoreUnavailableError: Redis did not answer.
            AccountsUnavailableError: the users service did not give an answer.
        """
        token = await self.token(cookie, request_id)
        return token if isinstance(token, Refusal) else self._verifier.verify(token)

    async def token(self, cookie: SessionCookie, request_id: str) -> UnverifiedToken | Refusal:
        """A cookie's token; where there is none in Redis any more, the account is read and one is made.

        Raises:
            StoreUnavailableError: Redis did not answer.
            AccountsUnavailableError: the users service did not give an answer.
        """
        token = await self._read_sealed_token(cookie)
        if token is not None:
            return token
        renewed = await self._go_on(cookie, request_id)
        return renewed if isinstance(renewed, Refusal) else renewed.token

    async def refresh(self, cookie: SessionCookie, request_id: str) -> CookieSession | Refusal:
        """Read the account again and make the next token, however old this one is.

        Raises:
            StoreUnavailableError: Redis did not answer.
            AccountsUnavailableError: the users service did not give an answer.
        """
        renewed = await self._go_on(cookie, request_id)
        return renewed if isinstance(renewed, Refusal) else renewed.held

    # -----------------------------------------------------------------------------------------------------------------

    async def _catch_up(self, cookie: SessionCookie, request_id: str) -> None:
        """Get the next token while requests go on with this one: another node's, or else a new one."""
        try:
            await self._read_sealed_token(cookie)
            known = self._known.get(cookie.value)
            claims = None if known is None else self._verifier.recall(known.credentials)
            if not isinstance(claims, VerifiedClaims) or self._clock.now() >= self._renew_at(claims.exp):
                await self._go_on(cookie, request_id)
        except (StoreUnavailableError, AccountsUnavailableError) as error:
            _log.debug("a session was not renewed ahead of time (%s)", type(error).__name__)

    async def _go_on(self, cookie: SessionCookie, request_id: str) -> _RenewedToken | Refusal:
        """Go on with a session: one attempt of this worker at a time, however many wait for it."""
        task = self._renewals.get(cookie.value)
        if task is None:
            task = self._tasks.start(self._renew_session(cookie, request_id))
            self._renewals[cookie.value] = task
            task.add_done_callback(lambda _: self._renewals.pop(cookie.value))
        # A caller that gives up does not take the attempt away from the others.
        return await asyncio.shield(task)

    async def _renew_session(self, cookie: SessionCookie, request_id: str) -> _RenewedToken | Refusal:
        sub, sid = cookie.sub, cookie.sid
        # Before the users service is asked: a cookie whose session has ended costs the users service nothing.
        if not await self._session_store.lives(sub, sid):
            return Refusal(Reason.COOKIE_UNKNOWN)
        account = await self._accounts.find(sub, request_id)
        if account is None:
            return await self._close_session(cookie, Reason.COOKIE_CLOSED, request_id)
        session = await self._session_store.resume(sub, sid)
        if isinstance(session, Outcome):
            return Refusal(_REFUSED[session])
        if session.password_version != account.password_version:
            return await self._close_session(cookie, Reason.COOKIE_OUTDATED, request_id)
        self._audit.record(Event.REFRESH, sub=sub, sid=sid, client_id=session.client_id, request_id=request_id)
        return await self._issue_token(cookie, session, account)

    async def _close_session(self, cookie: SessionCookie, reason: Reason, request_id: str) -> Refusal:
        await self._session_store.end(cookie.sub, cookie.sid)
        self._audit.record(
            Event.REFRESH_REFUSED, sub=cookie.sub, sid=cookie.sid, reason=reason.name.lower(), request_id=request_id
        )
        return Refusal(reason)

    async def _issue_token(self, cookie: SessionCookie, session: Session, account: Account) -> _RenewedToken:
        text, scope = self._access.issue(session, account)
        sealed = seal(_sealing_key(cookie), text.encode("ascii"))
        await self._ask_redis((b"SET", UserKeys.of(cookie.sub).held(cookie.sid), sealed, b"EX", self._access.life_s))
        token = UnverifiedToken(text)
        self._cache_token(cookie, token)
        return _RenewedToken(
            token, CookieSession(session.sid, self._access.life_s, self._access.rest_s(session), scope)
        )

    async def _read_sealed_token(self, cookie: SessionCookie) -> UnverifiedToken | None:
        """The token that Redis holds for a cookie, if it is still good."""
        sealed = await self._ask_redis((b"GET", UserKeys.of(cookie.sub).held(cookie.sid)))
        text = unseal(_sealing_key(cookie), sealed) if isinstance(sealed, bytes) else None
        if text is None:
            return None
        token = format_gate(text)
        return None if isinstance(token, Refusal) or not self._cache_token(cookie, token) else token

    async def _ask_redis(self, command: tuple[Any, ...]) -> Any:  # noqa: ANN401 - Redis has many types
        """One command.

        Raises:
            StoreUnavailableError: there was no answer in time, or an error.
        """
        replies = await await_callback(partial(self._link.ask, [command]))
        if replies is None or replies[0] is AWAY:
            raise StoreUnavailableError("no answer")
        return replies[0]

    def _cache_token(self, cookie: SessionCookie, token: UnverifiedToken) -> bool:
        """Have the verifier judge a token, and remember it for its cookie; whether it is good."""
        claims = self._verifier.verify(token)
        if isinstance(claims, Refusal) or (claims.principal.sub, claims.principal.sid) != (cookie.sub, cookie.sid):
            return False
        known = self._known
        if cookie.value not in known and len(known) >= MAX_KNOWN:
            known.popitem(last=False)
        credentials = hashlib.sha256(b"Bearer " + token.encode("ascii")).digest()
        known[cookie.value] = _CachedToken(credentials, self._renew_at(claims.exp))
        return True

    def _renew_at(self, exp: float) -> float:
        return exp - (1 - FRESH_SHARE) * self._access.life_s


def _sealing_key(cookie: SessionCookie) -> bytes:
    """A digest of the cookie, which the browser alone has."""
    return derive_key(b"lockgate session cookie key\0", cookie.value)
