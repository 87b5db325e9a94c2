"""Rules of a route that set, add and remove header fields, compiled to text at the start.

A rule reaches no field that tells of the user, that frames a message or describes one connection, or that the gateway
writes or reads itself: these say what was judged, and a rule would let them say something else. The rules of responses
change what the service has sent. The gateway's own fields (CORS, limits, request id) come after the rules, and its own
refusals have no rules.

Names are compared without separators. So a service that reads `X~Tenant` as `X-Tenant` sees the field of the rule, and
none of the client's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from lockgate.edge.cookies import sets_own_cookie
from lockgate.edge.headers import HOP_BY_HOP, fold_name, is_for_services, is_forwardable
from lockgate.errors import ConfigurationError
from lockgate.route_settings import FieldRuleSettings, RouteSettings
from lockgate.settings import Settings

_HANDSHAKE: Final = b"sec-websocket-"
_CORS: Final = fold_name(b"access-control-")
# The gateway tells by the key whether a request may be repeated, and by the cookies which session it belongs to.
_READ_BY_GATEWAY: Final = frozenset({fold_name(b"cookie"), fold_name(b"idempotency-key")})
_OF_RESPONSES: Final = frozenset(
    fold_name(name)
    for name in HOP_BY_HOP | {b"content-length", b"date", b"x-request-id", b"ratelimit", b"ratelimit-policy"}
)
"""What the gateway writes itself in a response, or what describes one connection."""


@dataclass(frozen=True, slots=True)
class FieldRules:
    """The changes to the fields of a request or a response.

    Attributes:
        removed: names, as `fold_name` makes them, of the fields that are taken away.
        lines: the lines that are put in, each ended by CRLF.
    """

    removed: frozenset[bytes]
    lines: str

    def change_lines(self, lines: str) -> str:
        """Field lines, each ended by CRLF, after the rules."""
        if not self.removed:
            return lines + self.lines
        kept = [line for line in lines.split("\r\n") if line and _name_of(line) not in self.removed]
        return "".join(f"{line}\r\n" for line in kept) + self.lines

    def change_head(self, head: bytes) -> bytes:
        """A status line and field lines, each ended by CRLF, after the rules."""
        status, _, lines = head.decode("latin-1").partition("\r\n")
        return f"{status}\r\n{self.change_lines(lines)}".encode("latin-1")


def compile_request_rules(entry: RouteSettings, settings: Settings) -> FieldRules | None:
    """The rules for requests of a route; `None` without any.

    Raises:
        ConfigurationError: a name is out of reach, or has two rules; the text names the route and the name.
    """
    if entry.request_headers is None:
        return None
    place, hidden = f"route {entry.name!r}: request_headers", _fold_all(settings.identity_header_names)
    return _compile_rules(place, entry.request_headers, lambda name: _is_request_reachable(name, hidden))


def compile_response_rules(entry: RouteSettings, settings: Settings) -> FieldRules | None:
    """The rules for the service's responses; `None` without any.

    Raises:
        ConfigurationError: as `compile_request_rules`; or a value sets the gateway's own cookie.
    """
    rules = entry.response_headers
    if rules is None:
        return None
    place, hidden = f"route {entry.name!r}: response_headers", _fold_all(settings.identity_header_names)
    for name, value in (*rules.set.items(), *rules.add.items()):
        if name.lower() == "set-cookie" and sets_own_cookie(value.encode("ascii")):
            raise ConfigurationError(f"{place}: {name} sets the gateway's own cookie")
    return _compile_rules(place, rules, lambda name: _is_response_reachable(name, hidden))


def _compile_rules(place: str, rules: FieldRuleSettings, is_reachable: Callable[[bytes], bool]) -> FieldRules:
    seen: dict[bytes, str] = {}
    for kind, names in (("set", rules.set), ("add", rules.add), ("remove", rules.remove)):
        for name in names:
            spelled = name.lower().encode("ascii")
            if not is_reachable(spelled):
                raise ConfigurationError(
                    f"{place}.{kind}: {name} is out of reach: the gateway itself writes, reads or removes it"
                )
            folded = fold_name(spelled)
            if folded in seen:
                raise ConfigurationError(f"{place}: {seen[folded]} and {name} are one name, with two rules")
            seen[folded] = name
    written = (*rules.set.items(), *rules.add.items())
    return FieldRules(
        removed=_fold_all((*rules.set, *rules.remove)),
        lines="".join(f"{name}: {value}\r\n" for name, value in written),
    )


def _is_request_reachable(name: bytes, hidden: frozenset[bytes]) -> bool:
    folded = fold_name(name)
    return (
        is_forwardable(name)
        and not name.startswith(_HANDSHAKE)
        and folded not in _READ_BY_GATEWAY
        and folded not in hidden
    )


def _is_response_reachable(name: bytes, hidden: frozenset[bytes]) -> bool:
    folded = fold_name(name)
    return not (
        folded in _OF_RESPONSES
        or folded in hidden
        or folded.startswith(_CORS)
        or name.startswith(_HANDSHAKE)
        or is_for_services(name)
    )


def _fold_all(names: Iterable[str]) -> frozenset[bytes]:
    return frozenset(fold_name(name.lower().encode("ascii")) for name in names)


def _name_of(line: str) -> bytes:
    return fold_name(line.partition(":")[0].lower().encode("latin-1"))
