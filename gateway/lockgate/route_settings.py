"""The settings of a `[[route]]`. `lockgate.policy` makes routes of them."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    field_validator,
    model_validator,
)

from lockgate.setting_values import (
    FIELD_NAME,
    KIB,
    ExposedName,
    HostPattern,
    Networks,
    Origins,
    Section,
    ShortName,
    Upstreams,
)

_PIN: Final = r"^(header|cookie) [A-Za-z0-9!#$%&'+.^_`|~-]{1,64}$"
AuthenticationMethod = Literal["pwd"]
"""The methods that tokens name (RFC 8176): those by which a user can authenticate here."""
PREFLIGHT_AGE_S: Final = 600


def _check_prefix(prefix: str) -> str:
    if not prefix.startswith("/"):
        raise ValueError("a prefix begins with a slash")
    return prefix


_LOCATION: Final = re.compile(
    r"(?:https?://(?:[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?|(?=/(?![/\\])))"
    r"(?:/[!$&-;=@-\[\]_a-z~%]*)?(?P<more>\?[!\"$-\[\]-~]*)?",
    re.IGNORECASE | re.ASCII,
)


class RedirectSettings(Section):
    """Where a route redirects to."""

    to: Annotated[str, Field(max_length=2048)]
    """`https://host`, `https://host/path` or `/path`; takes the place of the route's prefix."""
    status: Literal[301, 302, 303, 307, 308] = 308
    keep_path: bool = True
    """The rest of the path and the query follow `to`. Off, every request of the route is redirected to `to` itself."""

    @model_validator(mode="after")
    def _location_of_its_own(self) -> Self:
        match = _LOCATION.fullmatch(self.to)
        if match is None:
            raise ValueError("to is https://host, https://host/path or /path, without user and fragment")
        if match["more"] and self.keep_path:
            raise ValueError("to has a query, which needs keep_path = false")
        return self


_UNSETTABLE: Final = frozenset(
    {
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "proxy-connection",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
    }
)
"""Response fields that the gateway writes itself, that describe one connection, or that set a cookie."""


def _fixed_fields(fields: dict[str, str]) -> dict[str, str]:
    for name, value in fields.items():
        if FIELD_NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no name of a header field")
        if name.lower() in _UNSETTABLE or name.lower().startswith("access-control-"):
            raise ValueError(f"{name!r} is written by the gateway, or by nothing on a fixed response")
        if re.fullmatch(r"[\t\x20-\x7e]*", value) is None:
            raise ValueError(f"{name!r} has a value with characters that no header field has")
    return fields


class RespondSettings(Section):
    """The response of a route without a service."""

    status: Annotated[int, Field(ge=200, le=599)] = 200
    body: Annotated[str, Field(max_length=64 * KIB)] = ""
    headers: Annotated[dict[str, str], AfterValidator(_fixed_fields)] = Field(default_factory=dict)
    """Header fields; `Content-Type` is plain text where not given."""

    @model_validator(mode="after")
    def _no_redirect_and_no_stray_body(self) -> Self:
        if self.status in range(300, 400):
            raise ValueError("a redirect is written as redirect = { to = …, status = … }")
        if self.body and self.status in {204, 205}:
            raise ValueError(f"a response {self.status} has no body (RFC 9110 section 15.3)")
        return self


_RULE_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?")
_MAX_RULES: Final = 32
_MAX_RULE_VALUE: Final = 4096


def _rule_name(name: str) -> str:
    if FIELD_NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name of a header field; one is such as X-Frame-Options")
    return name


def _rule_value(value: str) -> str:
    if len(value) > _MAX_RULE_VALUE or _RULE_VALUE.fullmatch(value) is None:
        raise ValueError(
            f"a value is 1 to {_MAX_RULE_VALUE} visible ASCII characters, with blanks between them only; "
            "remove takes a field away"
        )
    return value


_RuleName = Annotated[str, AfterValidator(_rule_name)]
_RuleFields = Annotated[
    dict[_RuleName, Annotated[str, AfterValidator(_rule_value)]], Field(default_factory=dict, max_length=_MAX_RULES)
]


class FieldRuleSettings(Section):
    """What a route changes in the header fields of a request, or of a service's response."""

    set: _RuleFields
    """Fields in place of every field of these names."""
    add: _RuleFields
    """Fields beside those that are there."""
    remove: Annotated[tuple[_RuleName, ...], Field(max_length=_MAX_RULES)] = ()
    """Names of fields that are taken away."""


class IdentityHeaderSettings(Section):
    """Names of request fields in which a service is told of the user, beside the signed names of the gateway."""

    user: _RuleName | None = None
    """For the user's id, as in `X-User-Id`."""
    name: _RuleName | None = None
    """For the name that the user logs in with."""
    email: _RuleName | None = None
    """For the user's e-mail address, where the users service has verified it."""
    roles: _RuleName | None = None
    scopes: _RuleName | None = None

    def names(self) -> dict[str, str]:
        """The chosen names, by what the service is told in them."""
        chosen: dict[str, str | None] = self.model_dump()
        return {told: name for told, name in chosen.items() if name is not None}


class RouteSettings(Section):
    """A `[[route]]`: the hosts and paths that go to a service, and the demands on requests; or a response itself."""

    name: ShortName
    prefix: Annotated[str, AfterValidator(_check_prefix), Field(max_length=1024)]
    """A path as requests have it; `/files` stands for `/files` and all paths below, `/` for every path."""
    hosts: tuple[HostPattern, ...] = ()
    """Host names, or `*.example.org` for all hosts below `example.org`; empty for every host."""
    upstreams: Upstreams = ()
    redirect: RedirectSettings | None = None
    """Respond with a redirect, in place of a service."""
    respond: RespondSettings | None = None
    """Respond with a fixed response, in place of a service."""
    allow_addresses: Networks = ()
    """The networks of the clients that may use the route; empty for all. Other clients get 403."""
    deny_addresses: Networks = ()
    """The networks of the clients that may not, even where `allow_addresses` has them."""
    service: ShortName | None = None
    """The service; its link key signs. The route's name where not given."""
    auth: Literal["required", "optional", "public"] = "required"
    methods: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    scopes: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    roles: tuple[str, ...] = ()
    """The token has one of these roles."""
    amr: tuple[AuthenticationMethod, ...] = ()
    """The user authenticated by each of these methods."""
    max_auth_age_s: Annotated[int, Field(ge=0)] = 0
    """The user authenticated at most so many seconds ago; 0: any time ago."""
    email_verified: bool = False
    """The users service has verified the user's e-mail address."""
    owner: str | None = None
    """A path with one segment `{sub}` that must be the token's subject, such as `/users/{sub}`."""
    rate: tuple[str, ...] = ()
    """`<count>/<s|min|h|day|month> per <user|address|client|route>`, maybe followed by ` with role <role>`; a single
    limit or several."""
    public_write: bool = False
    """Must be true on a route that takes unsafe methods without credentials."""
    strip_prefix: bool = False
    """Remove the prefix from the path that the service gets; `X-Forwarded-Prefix` tells the service."""
    replace_prefix: Annotated[str, AfterValidator(_check_prefix), Field(max_length=1024)] | None = None
    """A path that the service gets in place of the prefix."""
    encoded_slashes: bool = False
    """Accept `%2F` in a path and forward it unchanged, for names that contain slashes. Off, such a path is 400."""
    timeout_s: Annotated[float, Field(gt=0)] = 10
    weights: tuple[Annotated[int, Field(ge=0, le=1000)], ...] = ()
    """A share of the requests for each of `upstreams`, in their order; 0: only requests with the `pin`."""
    pin: Annotated[str, Field(pattern=_PIN)] | None = None
    """`header NAME` or `cookie NAME`: its value is the number of the upstream that a request goes to, from 1."""
    retry: Literal["idempotent", "keyed", "off"] = "idempotent"
    """What another upstream gets after the first one may have seen it: idempotent methods; with `keyed` also requests
    with an `Idempotency-Key`. Where no connection came about, every request goes to another upstream."""
    health: Annotated[str, Field(pattern=r"^/[A-Za-z0-9/_.-]*$")] | None = None
    """A path to GET every few seconds from each upstream; an upstream without a 2xx response gets no requests."""
    body_bytes: Annotated[int, Field(ge=0)] | None = None
    """Instead of `limits.body_bytes`."""
    body_rate: Annotated[int, Field(ge=1)] | None = None
    """Instead of `limits.body_rate`."""
    finish_unsized: bool = False
    """Responses without `Content-Length` may go on for `limits.after_expiry_s`, too; event streams never."""
    preserve_host: bool = False
    """Give the service the client's `Host` instead of its own address; it is in `X-Forwarded-Host` either way."""
    forward_authorization: bool = False
    """Forward the client's Authorization to the service; off by default, so that services never see a token."""
    request_headers: FieldRuleSettings | None = None
    """Changes to the fields of a client's request, before the service gets the request."""
    response_headers: FieldRuleSettings | None = None
    """Changes to the fields of the service's response. The gateway's own refusals stay as they are."""
    identity_headers: IdentityHeaderSettings | None = None
    """Further names for the user, for a service that cannot verify the signature. No client can send them, on any
    route."""
    websocket: tuple[str, ...] = ()
    """Paths where a client may open a WebSocket; on any other path the handshake is refused."""
    allowed_origins: Origins | None = None
    """Instead of `server.allowed_origins`."""
    expose_headers: tuple[ExposedName, ...] = ()
    """Response fields that a listed page may read, beyond the usual ones and those the service exposes."""
    preflight_age_s: Annotated[int, Field(ge=0, le=86_400)] = PREFLIGHT_AGE_S
    """How long a browser may cache the response to a preflight."""

    @field_validator("rate", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _leads_to_one_thing(self) -> Self:
        if sum((bool(self.upstreams), self.redirect is not None, self.respond is not None)) != 1:
            raise ValueError("a route has upstreams, or redirect, or respond: one of the three")
        return self

    @model_validator(mode="after")
    def _has_one_rewrite(self) -> Self:
        if self.strip_prefix and self.replace_prefix is not None:
            raise ValueError(
                "strip_prefix and replace_prefix exclude each other; replace_prefix alone removes the prefix"
            )
        return self

    @property
    def service_name(self) -> str:
        """The service's name, as in its link keys."""
        return self.service or self.name
