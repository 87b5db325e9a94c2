"""What a reload may change, what it would change, and the revision of the rules.

The settings in `RELOADABLE` are the rules by which requests are judged and forwarded. Every other setting belongs to
something that is made once, at the start: a listening socket, a connection to Redis, the lifetimes of tokens that are
out already. A setting that is not listed here needs a restart, so a new setting is never half taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from lockgate.errors import ConfigurationError
from lockgate.settings import Settings

RELOADABLE: Final[Mapping[str, frozenset[str] | None]] = {
    "admin": None,
    "limits": None,
    "roles": None,
    "route": None,
    "tls": frozenset({"certificates", "client_ca_file", "min_version"}),
    "upstreams": None,
    "server": frozenset(
        {
            "allowed_hosts",
            "allowed_origins",
            "forwarded_from",
            "forwarded_host",
            "own_host",
            "redirect_http",
            "trusted_proxies",
        }
    ),
}
"""The sections whose settings are rules; of a section with a set, these settings alone."""
_REVISION_DIGITS: Final = 12


class Change(NamedTuple):
    """A setting with two values.

    Attributes:
        place: as in the file, a route by its name: `route.orders.timeout_s`.
        before: as JSON; `None` where the setting was not there.
        after: the same of the new value.
    """

    place: str
    before: Any
    after: Any


class Changes(NamedTuple):
    """What differs between two configurations.

    Attributes:
        rules: what a reload takes.
        restart: the places of settings that need a restart. Their values are not shown: one of them is a secret.
    """

    rules: tuple[Change, ...]
    restart: tuple[str, ...]


def compare_settings(before: Settings, after: Settings) -> Changes:
    """What differs between two configurations."""
    rules: list[Change] = []
    restart: list[str] = []
    # The listening socket is one for TLS or one for plain HTTP.
    turned = bool(before.tls.certificates) != bool(after.tls.certificates)
    for section in type(before).model_fields:
        old, new = getattr(before, section), getattr(after, section)
        if old == new:
            continue
        for change in _compare_section(section, old, new):
            listed = RELOADABLE.get(section, frozenset())
            if (listed is None or change.place.partition(".")[2] in listed) and not (turned and section == "tls"):
                rules.append(change)
            else:
                restart.append(change.place)
    return Changes(tuple(rules), tuple(restart))


def revision_of(settings: Settings) -> str:
    """The revision of the rules in a configuration: the same on each node with the same rules."""
    content = settings.model_dump(mode="json", include=set(RELOADABLE))
    for section, listed in RELOADABLE.items():
        if listed is not None:
            content[section] = {name: value for name, value in content[section].items() if name in listed}
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:_REVISION_DIGITS]


def _compare_section(section: str, old: Any, new: Any) -> Iterator[Change]:  # noqa: ANN401 - any section
    before, after = _entries(old), _entries(new)
    if before is None or after is None:
        yield Change(section, None, None)  # a value of its own, which may be a secret
        return
    for name in (*before, *(name for name in after if name not in before)):
        one, other = before.get(name), after.get(name)
        if one == other:
            continue
        if section == "route" and one is not None and other is not None:
            fields = ((field, one.get(field), other.get(field)) for field in one.keys() | other.keys())
            yield from (Change(f"route.{name}.{field}", a, b) for field, a, b in sorted(fields) if a != b)
        else:
            yield Change(f"{section}.{name}", one, other)


def _entries(section: Any) -> dict[str, Any] | None:  # noqa: ANN401 - any section
    """The settings of a section by name, as JSON; `None` for a section that is one value."""
    if isinstance(section, Mapping):
        return {name: list(value) for name, value in section.items()}
    if isinstance(section, tuple):
        return {route.name: route.model_dump(mode="json") for route in section}
    if hasattr(section, "model_dump"):
        content: dict[str, Any] = section.model_dump(mode="json")
        return content
    return None


class RestartNeededError(ConfigurationError):
    """Settings have changed that no reload can take.

    Attributes:
        places: of the settings.
    """

    def __init__(self, places: Sequence[str]) -> None:
        super().__init__(f"a restart is needed for {', '.join(places)}")
        self.places = tuple(places)
