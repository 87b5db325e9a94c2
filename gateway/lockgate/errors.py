"""The reasons to refuse a request, and the faults of the program.

A refusal is a value (`Refusal`) with a reason from an enum: tests assert the reason, logs carry its name, and
clients see its code. An exception is a fault of this program, or of a store or service that the program depends on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Final, NamedTuple, Self

from lockgate_common import errors as faults

_MAX_QUOTED: Final = 64
_SECRET: Final = re.compile(r"\b(?:lg[a-z]_|eyJ)[\w.-]*")
"""A refresh token, a session cookie, a client's secret, or a compact JWS (its header begins with `{"`)."""


class _Response(NamedTuple):
    status: int
    code: str
    title: str
    oauth_error: str | None = None
    """The error code of RFC 6749, 6750, 7009 or 9470, if any."""


# Equal on purpose: a client must not learn which check failed (RFC 6750 section 3.1).
_INVALID_TOKEN: Final = _Response(401, "invalid_token", "The access token is not valid", "invalid_token")
_INVALID_REFRESH: Final = _Response(400, "invalid_grant", "The refresh token is not valid", "invalid_grant")


class Reason(Enum):
    """Every reason to refuse a request, with the response that the client gets.

    Several reasons share a response on purpose: the log must show which check of a token failed, and the client must
    not learn it (RFC 6750 section 3.1). Two codes tell more, where an attacker learns nothing new: `TOKEN_EXPIRED`
    stands for a token with no other fault, and `REFRESH_REUSED` for a token with a valid MAC from its own client.
    """

    # The bytes are no acceptable HTTP request.
    MALFORMED_REQUEST = _Response(400, "malformed_request", "The request is not valid HTTP", "invalid_request")
    AMBIGUOUS_FRAMING = _Response(400, "ambiguous_framing", "The length of the body is ambiguous", "invalid_request")
    MALFORMED_HEADER = _Response(400, "malformed_header", "A header field is not acceptable", "invalid_request")
    BAD_TARGET = _Response(400, "malformed_target", "The request target is not acceptable", "invalid_request")
    BAD_HOST = _Response(400, "malformed_host", "Exactly one valid Host is needed", "invalid_request")
    UNKNOWN_HOST = _Response(421, "unknown_host", "This host is not served here")
    UPGRADE_REFUSED = _Response(400, "upgrade_refused", "This protocol upgrade is not acceptable", "invalid_request")
    SOCKET_VERSION = _Response(426, "upgrade_required", "WebSockets are spoken in version 13", "invalid_request")
    REQUEST_TIMEOUT = _Response(408, "request_timeout", "The request did not arrive in time")
    BODY_TOO_LARGE = _Response(413, "body_too_large", "The body is too large")
    TARGET_TOO_LONG = _Response(414, "target_too_long", "The request target is too long")
    EXPECTATION_UNKNOWN = _Response(417, "expectation_unknown", "Only 100-continue can be expected")
    HEAD_TOO_LARGE = _Response(431, "head_too_large", "The header fields are too large")
    UNKNOWN_TRANSFER_CODING = _Response(501, "unknown_transfer_coding", "Only chunked transfer coding is understood")
    UNKNOWN_METHOD = _Response(501, "unknown_method", "This method is not implemented")
    UNKNOWN_VERSION = _Response(505, "unknown_version", "Only HTTP/1.0 and HTTP/1.1 are spoken")
    TOO_MANY_CONNECTIONS = _Response(503, "too_many_connections", "Too many connections")

    # The requested resource does not exist here.
    NO_ROUTE = _Response(404, "not_found", "Nothing is routed here")
    NOT_FOUND = _Response(404, "not_found", "There is nothing of this name")
    METHOD_NOT_ALLOWED = _Response(405, "method_not_allowed", "This method is not allowed here")
    REWRITTEN = _Response(404, "not_found", "The gateway rewrites this path, so a proxy cannot forward it")
    ROUTE_GONE = _Response(404, "not_found", "The route has gone")

    # The body of one of the gateway's own calls.
    UNREADABLE_BODY = _Response(400, "unreadable_body", "The body could not be read", "invalid_request")
    UNSUPPORTED_MEDIA = _Response(415, "unsupported_media_type", "This media type is not accepted", "invalid_request")
    UNSUPPORTED_CHARSET = _Response(415, "unsupported_media_type", "The charset of a body is UTF-8", "invalid_request")
    UNSUPPORTED_CODING = _Response(
        415, "unsupported_media_type", "A body has no content coding here", "invalid_request"
    )
    INVALID_FIELDS = _Response(400, "invalid_fields", "Fields are missing, unknown or not valid", "invalid_request")

    # The credentials of the request.
    NO_CREDENTIALS = _Response(401, "credentials_required", "Credentials are required")
    REPEATED_CREDENTIALS = _Response(400, "repeated_credentials", "Credentials were sent twice", "invalid_request")
    MALFORMED_CREDENTIALS = _Response(400, "malformed_credentials", "The credentials are malformed", "invalid_request")
    TOKEN_MALFORMED = _INVALID_TOKEN
    TOKEN_WRONG_TYPE = _INVALID_TOKEN
    TOKEN_UNKNOWN_KEY = _INVALID_TOKEN
    TOKEN_BAD_SIGNATURE = _INVALID_TOKEN
    TOKEN_BAD_CLAIMS = _INVALID_TOKEN
    TOKEN_EXPIRED = _Response(401, "token_expired", "The access token has expired", "invalid_token")
    TOKEN_NOT_YET_VALID = _INVALID_TOKEN
    TOKEN_WRONG_AUDIENCE = _INVALID_TOKEN
    TOKEN_REVOKED = _INVALID_TOKEN
    SESSION_ENDED = _INVALID_TOKEN
    EPOCH_RAISED = _INVALID_TOKEN
    TICKET_UNKNOWN = _INVALID_TOKEN
    COOKIE_MALFORMED = _INVALID_TOKEN
    COOKIE_UNKNOWN = _INVALID_TOKEN
    COOKIE_EXPIRED = _INVALID_TOKEN
    COOKIE_CLOSED = _INVALID_TOKEN
    COOKIE_OUTDATED = _INVALID_TOKEN

    # The rights of the identity or page.
    ORIGIN_REFUSED = _Response(403, "origin_refused", "Pages of this origin may not connect")
    CROSS_SITE = _Response(
        403, "cross_site_refused", "With a cookie, this has to come from a page of an allowed origin"
    )
    ADDRESS_REFUSED = _Response(403, "address_refused", "Clients of this address may not ask for this")
    PROXY_UNTRUSTED = _Response(403, "proxy_untrusted", "Only a trusted front proxy may ask this")
    TOO_MANY_SOCKETS = _Response(429, "too_many_sockets", "Too many open WebSockets")
    SCOPE_MISSING = _Response(403, "insufficient_scope", "The access token lacks a scope", "insufficient_scope")
    BEYOND_SESSION = _Response(
        403,
        "insufficient_scope",
        "A token limited to some scopes reaches its own session only",
        "insufficient_scope",
    )
    ROLE_MISSING = _Response(403, "insufficient_role", "This needs another role", "insufficient_scope")
    NOT_OWNER = _Response(403, "not_owner", "This belongs to another user", "insufficient_scope")
    EMAIL_UNVERIFIED = _Response(403, "email_unverified", "This needs a verified e-mail address", "insufficient_scope")
    AMR_MISSING = _Response(
        401,
        "insufficient_user_authentication",
        "This needs another way of authentication",
        "insufficient_user_authentication",
    )
    AUTH_TOO_OLD = _Response(
        401,
        "insufficient_user_authentication",
        "This needs a more recent authentication",
        "insufficient_user_authentication",
    )
    TOO_MANY_TICKETS = _Response(429, "too_many_tickets", "Too many tickets at once")
    RATE_LIMITED = _Response(429, "rate_limited", "Too many requests")

    # Logging in and staying logged in.
    LOGIN_REFUSED = _Response(400, "invalid_grant", "Username or password is wrong", "invalid_grant")
    CAPTCHA_REQUIRED = _Response(400, "captcha_required", "A captcha has to be solved first")
    LOGIN_THROTTLED = _Response(429, "too_many_attempts", "Too many attempts; solve a captcha or try again later")
    PASSWORD_REFUSED = _Response(400, "invalid_grant", "The current password is wrong", "invalid_grant")
    PASSWORD_UNACCEPTABLE = _Response(400, "invalid_password", "The new password is not acceptable", "invalid_request")
    REFRESH_MALFORMED = _INVALID_REFRESH
    REFRESH_UNKNOWN = _INVALID_REFRESH
    REFRESH_EXPIRED = _INVALID_REFRESH
    REFRESH_REUSED = _Response(400, "refresh_reused", "The refresh token is not valid", "invalid_grant")
    ACCOUNT_CLOSED = _INVALID_REFRESH
    PASSWORD_OUTDATED = _INVALID_REFRESH
    REFRESH_FOREIGN = _INVALID_REFRESH
    REFRESH_CROWDED = _Response(
        429, "too_many_refreshes", "This refresh token was used too often; use the one after it"
    )
    COOKIES_OFF = _Response(400, "cookies_off", "There are no session cookies here", "invalid_request")

    # OAuth clients and their grants.
    CLIENT_REPEATED = _Response(400, "repeated_credentials", "Credentials were sent twice", "invalid_request")
    CLIENT_REFUSED = _Response(401, "invalid_client", "The client could not be authenticated", "invalid_client")
    CLIENT_EXISTS = _Response(409, "client_exists", "There is a client of this name already")
    GRANT_UNSUPPORTED = _Response(
        400,
        "unsupported_grant_type",
        "There is no such grant; there are client_credentials and refresh_token",
        "unsupported_grant_type",
    )
    SCOPE_INVALID = _Response(400, "invalid_scope", "A scope is unknown or exceeds what was granted", "invalid_scope")

    # Changes by administrators.
    ROLE_UNKNOWN = _Response(404, "unknown_role", "There is no such role")
    ROLE_LAST = _Response(409, "last_role", "An account keeps at least one role")
    KEYS_BUSY = _Response(409, "keys_busy", "The keys are being changed by another node")
    KEYS_FIXED = _Response(409, "keys_not_writable", "This node may not write to the folder of keys")
    KEYS_UNUSABLE = _Response(503, "keys_unusable", "The files of keys are not in order; the log says what is wrong")

    # A store or service that the gateway depends on is away.
    STORE_AWAY = _Response(503, "store_unavailable", "The session store cannot be reached", "temporarily_unavailable")
    ACCOUNTS_AWAY = _Response(503, "accounts_unavailable", "Accounts cannot be reached", "temporarily_unavailable")
    ACCOUNTS_AWAY_ID_NEEDED = _Response(
        503,
        "accounts_unavailable",
        "Accounts cannot be reached, so nobody can be found by name; nothing was done; name the user by id",
        "temporarily_unavailable",
    )
    ACCOUNTS_AWAY_SHUT_OUT = _Response(
        503,
        "accounts_unavailable",
        "Accounts cannot be reached; the user's sessions have ended and logins are barred for two minutes; do it again",
        "temporarily_unavailable",
    )
    KEYS_UNKNOWN = _Response(503, "keys_unavailable", "The gateway cannot read its keys", "temporarily_unavailable")
    CAPTCHA_AWAY = _Response(503, "captcha_unavailable", "Captchas cannot be made now", "temporarily_unavailable")
    UPSTREAM_REFUSED = _Response(502, "upstream_unreachable", "The service cannot be reached")
    UPSTREAM_BROKE = _Response(502, "upstream_failed", "The service did not give a valid answer")
    LINK_REFUSED = _Response(502, "link_refused", "The service does not accept the gateway's signature")
    UPSTREAM_BUSY = _Response(503, "upstream_busy", "The service has too many requests waiting")
    UPSTREAM_EJECTED = _Response(503, "upstream_ejected", "The service is not tried again yet after failures")
    UPSTREAM_TIMEOUT = _Response(504, "upstream_timeout", "The service did not answer in time")
    SOCKET_DECLINED = _Response(502, "socket_declined", "The service did not accept the WebSocket")
    DRAINING = _Response(503, "draining", "This node is shutting down")
    INTERNAL = _Response(500, "internal_error", "The gateway failed")

    response: _Response
    """The response that the client gets."""

    def __new__(cls, *response: Any) -> Self:  # noqa: ANN401 - the fields of `_Response`
        """Number the members, so that reasons with equal responses stay different members."""
        member = object.__new__(cls)
        member._value_ = len(cls.__members__)
        member.response = _Response(*response)
        return member

    @property
    def status(self) -> int:
        """The HTTP status code."""
        return self.response.status

    @property
    def code(self) -> str:
        """The stable machine-readable code of the problem response."""
        return self.response.code


@dataclass(frozen=True, slots=True)
class Refusal:
    """The refusal of a request.

    Attributes:
        reason: the response, and the name in log and metrics.
        headers: further header fields of the response, such as `Allow` or `Retry-After`.
        scope: the scopes that would have been enough (RFC 6750 section 3), for `SCOPE_MISSING`.
        max_age_s: the largest age of an authentication that would have been enough, in seconds (RFC 9470 section 3);
            0 where any age would.
        note: what `lockgate tokens inspect` shows beside the reason; never for a client or a log. Holds no token,
            claim, key or password.
        members: further members of the problem, for the client: JSON values, none from the request.
    """

    reason: Reason
    headers: tuple[tuple[str, str], ...] = ()
    scope: str | None = None
    max_age_s: int = 0
    note: str = ""
    members: Mapping[str, object] = field(default_factory=dict, hash=False)


LockgateError = faults.LockgateError
"""A fault of the configuration, or of a store or service that the program depends on."""

ConfigurationError = faults.ConfigurationError
"""The program cannot start with this configuration; each argument is one line for the operator."""

StoreUnavailableError = faults.StoreUnavailableError
"""Redis did not reply, or replied that the command cannot run."""

StoreRefusedError = faults.StoreRefusedError
"""Redis replies, and its configuration or the gateway's prevents its use; only the operator can mend that."""


def collect_faults(*checks: Callable[[], object]) -> list[str]:
    """Make all checks of a configuration; the lines of those that fail with `ConfigurationError`."""
    lines: list[str] = []
    for check in checks:
        try:
            check()
        except ConfigurationError as error:
            lines += error.args
    return lines


class AlreadyReportedError(ConfigurationError):
    """A `ConfigurationError` of a child process, which has already printed the text to the same output."""


class AccountsUnavailableError(LockgateError):
    """The users service did not respond."""

    reason: ClassVar[Reason] = Reason.ACCOUNTS_AWAY


class KeysUnknownError(LockgateError):
    """The gateway does not know which of its keys are still good."""


class UserIdNeededError(AccountsUnavailableError):
    """The users service did not respond, and only it could resolve the user's name; nothing was changed."""

    reason = Reason.ACCOUNTS_AWAY_ID_NEEDED


class OnlyShutOutError(AccountsUnavailableError):
    """The users service did not respond; the user's sessions have ended, and none begins for two minutes."""

    reason = Reason.ACCOUNTS_AWAY_SHUT_OUT


class CaptchaUnavailableError(LockgateError):
    """A captcha could not be made or judged."""


def quoted(argument: str) -> str:
    """An argument quoted for a message; a placeholder for a long argument, or a possibly misplaced secret."""
    if len(argument) > _MAX_QUOTED or _SECRET.search(argument):
        return "'…' (not repeated: it may be a secret)"
    return repr(argument)


def without_secrets(message: str) -> str:
    """A message, maybe of another library, with every possible token or client secret replaced."""
    return _SECRET.sub("…", message)
