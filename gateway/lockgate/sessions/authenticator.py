"""Which token speaks for a request: the one in Authorization, the one behind a session cookie, or behind a ticket."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

from lockgate.admission.gate import STORE_AWAY
from lockgate.edge.request import InboundRequest
from lockgate.errors import AccountsUnavailableError, KeysUnknownError, Reason, Refusal, StoreUnavailableError
from lockgate.identity.bearer import bearer, format_gate, in_query
from lockgate.identity.model import VerifiedClaims
from lockgate.identity.session_cookie import SessionCookie
from lockgate.identity.verifier import Verifier
from lockgate.keys.current import Current
from lockgate.policy.origins import Origins
from lockgate.policy.rules import Rules
from lockgate.sessions.cookie_sessions import CookieSessions
from lockgate.sessions.tickets import Tickets

_log: Final = logging.getLogger("lockgate.sessions")


LookUp = Callable[[], Coroutine[None, None, VerifiedClaims | Refusal | None]]


class KeyWatch(Protocol):
    """Knows whether the keys in use are those on disk."""

    def are_current(self) -> bool:
        """Whether they were looked at lately."""

    async def make_current(self) -> None:
        """Look at them now. Raises `KeysUnknownError`."""


class Pending(NamedTuple):
    """A credential that has to wait: for Redis, or for a look at the keys.

    Attributes:
        find: looks its claims up, once; `None` where the request carries no credentials. It raises nothing.
    """

    find: LookUp


Authentication = VerifiedClaims | Pending | Refusal | None
"""`None`: the request carries no credentials."""


class Authenticator:
    """Finds the credentials of a request, and the claims behind them.

    Two credentials at once are refused, and a malformed credential is never treated as no credential (R-41 to R-43).
    Credentials of another scheme are for another reader, such as a front door's Basic, and are ignored (R-204).

    Args:
        verifier: of access tokens.
        cookies: exchanges a session cookie for its access token.
        tickets: exchanges a ticket for its access token.
        rules: name the pages that may act by a cookie.
        keys: no credential is judged by keys that were not looked at for long.
    """

    def __init__(
        self, verifier: Verifier, cookies: CookieSessions, tickets: Tickets, rules: Current[Rules], keys: KeyWatch
    ) -> None:
        self._verifier = verifier
        self._cookies = cookies
        self._tickets = tickets
        self._rules = rules
        self._keys = keys

    def authenticate(self, request: InboundRequest, tickets: Sequence[str] = ()) -> Authentication:
        """The claims of the request's credentials, without waiting.

        Args:
            request: without tickets in its query.
            tickets: those that were taken out of it.
        """
        if not self._keys.are_current():
            # A request keeps the rules of its head, also where it has to wait.
            return _pending_lookup(
                request, partial(self._authenticate_later, request, tickets, self._rules.value.origins)
            )
        return self._by_ticket(request, tickets) if tickets else self._by_fields(request)

    def _by_fields(self, request: InboundRequest, origins: Origins | None = None) -> Authentication:
        facts = request.headers
        if (
            request.query is not None
            and in_query(request.query)
            and (facts.session_cookies or bearer(request.authorization) is not None)
        ):
            return Refusal(Reason.REPEATED_CREDENTIALS)
        if facts.session_cookies:
            value = self._cookies.presented(facts)
            if value is not None:
                if isinstance(value, Refusal):
                    return value
                return self._by_cookie(request, value, origins or self._rules.value.origins)
        credentials = _digest_of(request.authorization)
        cached = self._verifier.recall(credentials)
        if cached is not None:
            return cached
        token = bearer(request.authorization)
        if token is None or isinstance(token, Refusal):
            return token
        return self._verifier.verify(token, credentials)

    async def _authenticate_later(
        self, request: InboundRequest, tickets: Sequence[str], origins: Origins
    ) -> VerifiedClaims | Refusal | None:
        await self._keys.make_current()
        found = self._by_ticket(request, tickets) if tickets else self._by_fields(request, origins)
        return await found.find() if isinstance(found, Pending) else found

    async def verify(self, token: bytes) -> VerifiedClaims | Refusal:
        """The claims of a token that came outside of the request's header fields."""
        try:
            await self._keys.make_current()
        except KeysUnknownError:
            return Refusal(Reason.KEYS_UNKNOWN)
        unverified = format_gate(token)
        return unverified if isinstance(unverified, Refusal) else self._verifier.verify(unverified)

    def _by_cookie(self, request: InboundRequest, value: bytes, origins: Origins) -> VerifiedClaims | Pending | Refusal:
        if bearer(request.authorization) is not None:
            return Refusal(Reason.REPEATED_CREDENTIALS)
        refusal = origins.refuse_cross_site(request)
        if refusal is not None:
            return refusal
        cookie = self._cookies.recall(value, request.own_id) or self._cookies.read(value)
        if not isinstance(cookie, SessionCookie):
            return cookie
        return _pending_lookup(request, partial(self._cookies.claims, cookie, request.own_id))

    def _by_ticket(self, request: InboundRequest, tickets: Sequence[str]) -> Pending | Refusal:
        if len(tickets) > 1 or bearer(request.authorization) is not None:
            return Refusal(Reason.REPEATED_CREDENTIALS)
        return _pending_lookup(request, partial(self._redeem_ticket, request, tickets[0]))

    async def _redeem_ticket(self, request: InboundRequest, ticket: str) -> VerifiedClaims | Refusal:
        token = await self._tickets.redeem(ticket)
        if token is None:
            return Refusal(Reason.TICKET_UNKNOWN)
        found = self.authenticate(with_token(request, token))
        if isinstance(found, Pending):
            found = await found.find()
        return found or Refusal(Reason.TICKET_UNKNOWN)


def with_token(request: InboundRequest, token: bytes) -> InboundRequest:
    """A request as if its token had come in Authorization."""
    return request._replace(authorization=(b"Bearer " + token,))


def _digest_of(authorization: tuple[bytes, ...]) -> bytes:
    """SHA-256 of the single Authorization value; empty without a value, or with several."""
    return sha256(authorization[0]).digest() if len(authorization) == 1 else b""


def _pending_lookup(request: InboundRequest, look_up: LookUp) -> Pending:
    return Pending(partial(_look_up_safely, request, look_up))


async def _look_up_safely(request: InboundRequest, look_up: LookUp) -> VerifiedClaims | Refusal | None:
    """The border of a lookup: a fault becomes a refusal, because a client waits for the response."""
    try:
        return await look_up()
    except StoreUnavailableError:
        return STORE_AWAY
    except KeysUnknownError as error:
        return Refusal(Reason.KEYS_UNKNOWN, note=str(error))
    except AccountsUnavailableError as error:
        return Refusal(Reason.ACCOUNTS_AWAY, note=str(error))
    except Exception:  # noqa: BLE001 - the border: whatever failed inside, the client gets a 500
        _log.exception("a credential could not be looked up", extra={"request_id": request.request_id})
        return Refusal(Reason.INTERNAL)
