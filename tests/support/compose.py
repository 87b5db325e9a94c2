"""`compose.yaml`, as compose would read it."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from tests.support.stack import ROOT

PASSWORDS: Final = {
    f"{name}_PASSWORD": f"the{name.replace('_', '')}password"
    for name in (
        *("POSTGRES", "USERS_DB", "ORDERS_DB", "PRODUCTS_DB"),
        *("REDIS", "ORDERS_REDIS", "PRODUCTS_REDIS"),
        *("USERS_FILES", "ORDERS_FILES", "PRODUCTS_FILES"),
    )
}

_VARIABLE: Final = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\})")


def interpolated(text: str, given: dict[str, str]) -> str:
    """What compose makes of `$$`, `${NAME}`, `${NAME:-default}` and `${NAME:?message}`; KeyError where it stops."""

    def value(match: re.Match[str]) -> str:
        dollar, name, kind, rest = match.groups()
        if dollar:
            return "$"
        if found := given.get(name):
            return found
        if kind == "-":
            return str(rest)
        raise KeyError(name)

    return _VARIABLE.sub(value, text)


def resolved(node: Any, given: dict[str, str]) -> Any:  # noqa: ANN401 - a YAML document
    """The document with every variable replaced, as compose does it: in values, after parsing."""
    if isinstance(node, dict):
        return {key: resolved(value, given) for key, value in node.items()}
    if isinstance(node, list):
        return [resolved(value, given) for value in node]
    return interpolated(node, given) if isinstance(node, str) else node


def written() -> dict[str, Any]:
    """The file as it is."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return document


def environment_of(container: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in container.get("environment", {}).items()}
