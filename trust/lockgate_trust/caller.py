"""The caller: what a service learns about a request once its signature has been verified."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lockgate_trust.headers import (
    AUTH_TIME,
    CALLER,
    REQUEST_ID,
    SESSION_ID,
    TOKEN_ID,
    TRACEPARENT,
    USER_ID,
    USER_ROLES,
    USER_SCOPES,
    decode_value,
    decode_words,
    encode_value,
    encode_words,
    is_plain,
)
from lockgate_trust.signature import Covered, CoveredTemplate


class IdentityError(ValueError):
    """An identity header is malformed or contradicts another one. The text is the name of the header."""


_VISIBLE: Final = re.compile(r"[!-~]{1,256}")
_SECONDS: Final = re.compile(r"0|[1-9][0-9]{0,14}")
MAX_SECONDS: Final = 10**15 - 1
"""The latest time that an identity header can carry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The verified identity of one request.

    Attributes:
        request_id: names the request in the logs of all services that took part in it.
        service: the service that signed the request: ``gateway``, or another one that calls by itself.
        user_id: the user, or None for an anonymous request and for a service that calls for no user.
        roles: the user's roles; empty without a user.
        scopes: what the user's token allows; empty without a user.
        session_id: the session the token belongs to.
        token_id: the ``jti`` of the token.
        auth_time: when the user last authenticated, in seconds since the epoch.
        traceparent: the W3C trace context, not parsed.
        on_behalf: ``X-Caller``: the service that passes a user's identity on. When it is not None, it equals `service`.
    """

    request_id: str
    service: str
    user_id: str | None = None
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    session_id: str | None = None
    token_id: str | None = None
    auth_time: int | None = None
    traceparent: str | None = None
    on_behalf: str | None = None

    @property
    def anonymous(self) -> bool:
        """Whether no user stands behind the request."""
        return self.user_id is None

    def forwarded_by(self, service: str) -> tuple[tuple[str, str], ...]:
        """The identity headers of a call that `service` makes in the course of this request, on the same user's behalf.

        `lockgate_trust.signed_headers` takes them as they are.
        """
        trace = () if self.traceparent is None else ((TRACEPARENT, self.traceparent),)
        return (
            (REQUEST_ID, self.request_id),
            *trace,
            *token_headers(
                on_behalf=service,
                user_id=self.user_id,
                roles=self.roles,
                scopes=self.scopes,
                session_id=self.session_id,
                token_id=self.token_id,
                auth_time=self.auth_time,
            ),
        )


def token_headers(  # noqa: PLR0913 - one argument for each header, all by name
    *,
    user_id: str | None,
    roles: frozenset[str] = frozenset(),
    scopes: frozenset[str] = frozenset(),
    session_id: str | None = None,
    token_id: str | None = None,
    auth_time: int | None = None,
    on_behalf: str | None = None,
) -> tuple[tuple[str, str], ...]:
    """The identity headers that depend on the token only, encoded, in the order in which they are covered.

    What is None is left out. Roles and scopes are there, be they empty, as soon as there is a user: a service can tell
    a user without roles from a header that got lost.

    Raises:
        ValueError: a value is empty or not text that UTF-8 can carry; the time is negative; or there is something about
            a user without a user.
    """
    about_user = {USER_ROLES: encode_words(roles), USER_SCOPES: encode_words(scopes)}
    for name, text in ((SESSION_ID, session_id), (TOKEN_ID, token_id)):
        if text is not None:
            about_user[name] = _encode_nonempty(text)
    if auth_time is not None:
        about_user[AUTH_TIME] = _encode_seconds(auth_time)
    headers = {} if on_behalf is None else {CALLER: _encode_nonempty(on_behalf)}
    if user_id is not None:
        headers |= {USER_ID: _encode_nonempty(user_id)} | about_user
    elif any(about_user.values()):
        raise ValueError("roles, scopes, session, token or auth_time without a user")
    return tuple(headers.items())


_OF_USER: Final = (USER_ID, USER_ROLES, USER_SCOPES, SESSION_ID, TOKEN_ID)
_WITHOUT_AUTH_TIME: Final = CoveredTemplate.of(_OF_USER)
_WITH_AUTH_TIME: Final = CoveredTemplate.of((*_OF_USER, AUTH_TIME))


def cover_token(  # noqa: PLR0913 - one argument for each header, all by name
    *,
    user_id: str,
    roles: frozenset[str],
    scopes: frozenset[str],
    session_id: str,
    token_id: str,
    auth_time: int | None,
) -> Covered:
    """What `cover` makes of `token_headers`, for a user's token and in a quarter of the time.

    A gateway does this for each token that it has not seen. The values are not looked at again once they are encoded.

    Raises:
        ValueError: as `token_headers`.
    """
    if not (user_id and session_id and token_id):
        raise ValueError("an identity value is empty")
    if not is_plain(f"{user_id}{session_id}{token_id}"):
        user_id, session_id, token_id = encode_value(user_id), encode_value(session_id), encode_value(token_id)
    values = (user_id, encode_words(roles), encode_words(scopes), session_id, token_id)
    if auth_time is None:
        return _WITHOUT_AUTH_TIME.fill(values)
    return _WITH_AUTH_TIME.fill((*values, _encode_seconds(auth_time)))


def caller_from(headers: Mapping[str, str], service: str) -> Caller:
    """Read the identity headers of a request whose signature has been verified.

    Args:
        headers: the identity headers that are present, by name.
        service: the service that signed them.

    Raises:
        IdentityError: a value is malformed, there is something about a user without a user, or ``X-Caller`` names
            another service than the one that signed.
    """
    reader = _Reader(headers)
    caller = Caller(
        request_id=reader.visible(REQUEST_ID) or "",
        service=service,
        user_id=reader.text(USER_ID),
        roles=reader.words(USER_ROLES),
        scopes=reader.words(USER_SCOPES),
        session_id=reader.text(SESSION_ID),
        token_id=reader.text(TOKEN_ID),
        auth_time=reader.seconds(AUTH_TIME),
        traceparent=reader.visible(TRACEPARENT),
        on_behalf=reader.text(CALLER),
    )
    if not caller.request_id:
        raise IdentityError(REQUEST_ID)
    # A service can speak on a user's behalf but never in another service's name.
    if caller.on_behalf not in {None, service}:
        raise IdentityError(CALLER)
    # An anonymous caller with the role `admin` would be a trap for every handler that asks for the role only.
    if caller.user_id is None and not headers.keys().isdisjoint(
        {USER_ROLES, USER_SCOPES, SESSION_ID, TOKEN_ID, AUTH_TIME}
    ):
        raise IdentityError(USER_ID)
    return caller


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads header values by kind. A malformed one raises IdentityError."""

    headers: Mapping[str, str]

    def visible(self, name: str) -> str | None:
        value = self.headers.get(name)
        if value is not None and not _VISIBLE.fullmatch(value):
            raise IdentityError(name)
        return value

    def text(self, name: str) -> str | None:
        value = self.headers.get(name)
        if value is None:
            return None
        text = self._decoded(name, value)
        if not text:
            raise IdentityError(name)
        return text

    def words(self, name: str) -> frozenset[str]:
        try:
            return decode_words(self.headers.get(name, ""))
        except ValueError:
            raise IdentityError(name) from None

    def seconds(self, name: str) -> int | None:
        value = self.headers.get(name)
        if value is None:
            return None
        if not _SECONDS.fullmatch(value):
            raise IdentityError(name)
        return int(value)

    @staticmethod
    def _decoded(name: str, value: str) -> str:
        try:
            return decode_value(value)
        except ValueError:
            raise IdentityError(name) from None


def _encode_seconds(time: int) -> str:
    if not 0 <= time <= MAX_SECONDS:
        raise ValueError("auth_time is not a number of seconds since the epoch")
    return str(time)


def _encode_nonempty(text: str) -> str:
    if not text:
        raise ValueError("an identity value is empty")
    return encode_value(text)
