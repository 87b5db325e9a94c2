"""How the requests of a route are spread over its upstreams: weights, a pin, and what may be sent a second time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Self

from lockgate.edge.headers import HOP_BY_HOP, is_for_services
from lockgate.edge.request import InboundRequest
from lockgate.errors import ConfigurationError
from lockgate.route_settings import RouteSettings
from lockgate.setting_values import CREDENTIAL_FIELDS

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_KEY: Final = b"idempotency-key"
_NOT_FOR_PINS: Final = HOP_BY_HOP | {b"host", b"content-length"} | {name.encode("ascii") for name in CREDENTIAL_FIELDS}
_MAX_DIGITS: Final = 3


class Pin(NamedTuple):
    """The header field or cookie by which a client chooses an upstream: its number in the route's list, from 1.

    Attributes:
        name: of the field in lower case, or of the cookie.
        is_cookie: whether it is a cookie.
    """

    name: bytes
    is_cookie: bool

    @classmethod
    def from_setting(cls, text: str, place: str) -> Self:
        """Parse `header NAME` or `cookie NAME`, which the settings have checked for their form.

        Raises:
            ConfigurationError: no request could have this field, or the field has another meaning.
        """
        kind, _, name = text.partition(" ")
        if kind == "cookie":
            return cls(name.encode("ascii"), is_cookie=True)
        field = name.lower().encode("ascii")
        if field in _NOT_FOR_PINS or is_for_services(field) or b"_" in field or b"." in field:
            raise ConfigurationError(f"{place}: pin: requests cannot choose an upstream by the field {name!r}")
        return cls(field, is_cookie=False)

    def number_in(self, request: InboundRequest) -> int | None:
        """The number that a request names; `None` without a single one."""
        values = request.headers.values_of(b"cookie" if self.is_cookie else self.name)
        if self.is_cookie:
            pairs = [pair.partition(b"=") for value in values for pair in value.split(b";")]
            values = [content.strip(b" \t") for name, _, content in pairs if name.strip(b" \t") == self.name]
        if len(values) != 1 or not values[0].isdigit() or len(values[0]) > _MAX_DIGITS:
            return None
        return int(values[0])


@dataclass(frozen=True, slots=True)
class Spread:
    """How the requests of a route are spread.

    Attributes:
        weights: a share for each upstream, in their order; empty for equal shares of all addresses.
        pin: how a client chooses an upstream; `None` where no client may.
        retry: the requests that may be sent twice.
    """

    weights: tuple[int, ...] = ()
    pin: Pin | None = None
    retry: Literal["idempotent", "keyed", "off"] = "idempotent"

    def may_repeat(self, request: InboundRequest) -> bool:
        """Whether a service may get a request twice: by its method, or by its one `Idempotency-Key`."""
        if self.retry == "off":
            return False
        if request.method in IDEMPOTENT:
            return True
        return self.retry == "keyed" and [bool(key) for key in request.headers.values_of(_KEY)] == [True]


EVEN: Final = Spread()
"""All addresses alike."""


def compile_spread(entry: RouteSettings, upstreams: tuple[str, ...]) -> Spread:
    """Check how a route spreads its requests.

    Args:
        entry: the route as configured.
        upstreams: the addresses in effect, which `[upstreams]` may have replaced.

    Raises:
        ConfigurationError: the weights do not fit the upstreams, or the pin can have no effect.
    """
    place = f"route {entry.name!r}"
    weights = entry.weights
    if weights and len(weights) != len(upstreams):
        raise ConfigurationError(f"{place}: {len(weights)} weights for {len(upstreams)} upstreams; each needs one")
    if weights and not any(weights):
        raise ConfigurationError(f"{place}: with weights of 0 alone, no upstream gets requests")
    if entry.pin is not None and len(upstreams) == 1:
        raise ConfigurationError(f"{place}: pin: there is one upstream, so there is nothing to choose")
    pin = None if entry.pin is None else Pin.from_setting(entry.pin, place)
    return Spread(weights, pin, entry.retry)
