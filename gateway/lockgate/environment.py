"""Reads settings from the environment: every `LOCKGATE_` variable is used, or named in an error with its correction.

`LOCKGATE_TOKEN__ISSUER` is `[token] issuer`: `__` goes one level down, and case does not matter. A list may be JSON or
values with commas between them; a table (`LOCKGATE_SERVER={"port": 9000}`) is JSON. An empty variable of an optional
setting leaves the setting out, so that `${VARIABLE:-}` in a compose file does nothing. In the last part of
`LOCKGATE_UPSTREAMS__ORDER_API`, `_` stands for the hyphen of the service `order-api`, because no shell can export a
hyphen and no service has an underscore. A variable that may mean two roles is an error.

The settings library ignores unknown variables. `LOCKGATE_UPSTREAMS__ORDER_API` was such a variable, and traffic went to
the address in the file. So this module alone reads the environment, and finds the setting of every variable. The one
exception is Kubernetes, which sets `LOCKGATE_PORT=tcp://…` and the like in every pod beside a Service called
`lockgate`; these variables are recognised by their form. The services' prefixes are less specific (`USERS_`): a
service refuses a variable that is nearly a setting, and names and ignores any other. `Settings(…)` reads no
environment, so a test gets exactly the settings that it passes.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel

from lockgate.errors import ConfigurationError

PREFIX: Final = "LOCKGATE_"
PLAIN_REDIS_URL: Final = "REDIS_URL"
"""A second name of `LOCKGATE_REDIS_URL`, which platforms set."""
_LEVEL_SEPARATOR: Final = "__"
_LINK: Final = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_LINK_VALUE: Final = re.compile(r"(tcp|udp|sctp)://.*")
"""Variables that Kubernetes sets in every pod beside a Service called `lockgate` or `lockgate-…` are no settings."""

Place = tuple[str, ...]
"""The path of a setting: `("token", "issuer")`."""


@dataclass(slots=True)
class ReadEnvironment:
    """The settings from the environment.

    Attributes:
        content: the settings as nested tables, as in a configuration file.
        names: the name of each variable, by the place of its setting.
        problems: a line for each variable that names no setting, is set twice, or cannot be parsed. None holds a value.
    """

    content: dict[str, Any] = field(default_factory=dict)
    names: dict[Place, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def variable_for(self, place: Place) -> str | None:
        """The name of the variable that set a place, or a table that holds the place."""
        shorter = (place[:length] for length in range(len(place), 0, -1))
        return next((self.names[part] for part in shorter if part in self.names), None)


def read_environment(
    environ: Mapping[str, str], settings: type[BaseModel], content: Mapping[str, Any]
) -> ReadEnvironment:
    """Read the environment.

    Args:
        environ: all variables.
        settings: the class of the settings.
        content: the configuration file; its roles and services give variables their exact names.
    """
    found = ReadEnvironment()
    if url := environ.get(PLAIN_REDIS_URL):
        found.content["redis_url"] = url
        found.names["redis_url",] = PLAIN_REDIS_URL
    own = [name for name in environ if name.upper().startswith(PREFIX) and not is_kubernetes_link(name, environ[name])]
    # A variable of one setting overrides a variable of the whole table.
    for name in sorted(own, key=lambda name: (name.count(_LEVEL_SEPARATOR), name)):
        try:
            place, kind = _locate_setting(name, settings, content)
            value = _parse_value(name, environ[name], kind)
        except ConfigurationError as error:
            found.problems += error.args
            continue
        before = found.names.get(place)
        if before is not None and before != PLAIN_REDIS_URL and environ[before] != environ[name]:
            found.problems.append(f"{name} and {before} are the same setting with different values; unset one")
        _set_value(found.content, place, value)
        found.names[place] = name
    return found


def is_kubernetes_link(name: str, value: str) -> bool:
    """Whether Kubernetes has set this variable, as the address of a Service."""
    upper = name.upper()
    return bool(_LINK.fullmatch(upper)) or (upper.endswith("_PORT") and bool(_LINK_VALUE.fullmatch(value)))


def suggest_name(wrong: str, known: Iterable[str]) -> str:
    """The end of an error's sentence: the closest known name, or all of them."""
    names = sorted(known)
    near = find_near(wrong, names)
    return f"did you mean {near}?" if near else f"there are {', '.join(names) or 'none'}"


def find_near(wrong: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant; `None` where none is close."""
    return next(iter(difflib.get_close_matches(wrong, sorted(known), n=1)), None)


def _locate_setting(name: str, settings: type[BaseModel], content: Mapping[str, Any]) -> tuple[Place, Any]:
    """The place and the type of a variable's setting."""
    first, *rest = name[len(PREFIX) :].lower().split(_LEVEL_SEPARATOR)
    if first not in settings.model_fields:
        raise _unknown_setting(name, settings)
    kind = _strip_annotated(settings.model_fields[first].annotation)
    if not rest:
        return (first,), kind
    if _is_section(kind):
        if len(rest) > 1 or rest[0] not in kind.model_fields:
            raise _unknown_setting(name, settings)
        return (first, rest[0]), _strip_annotated(kind.model_fields[rest[0]].annotation)
    if get_origin(kind) is dict and len(rest) == 1 and rest[0]:
        return (first, _entry_name(name, first, rest[0], content)), _strip_annotated(get_args(kind)[1])
    if len(rest) >= 1 and get_origin(kind) is tuple:
        whole = f"{PREFIX}{first.upper()}"
        raise ConfigurationError(f"{name}: one entry of a list cannot be set; {whole} takes all of it, as JSON")
    raise _unknown_setting(name, settings)


def _entry_name(name: str, table: str, text: str, content: Mapping[str, Any]) -> str:
    """The exact name of a table's entry: the file's spelling, if the file has the entry."""
    if table == "upstreams":
        return text.replace("_", "-")
    entries = content.get(table, {})
    meant = [key for key in entries if _fold_name(key) == _fold_name(text)] if isinstance(entries, Mapping) else []
    if len(meant) > 1:
        whole = f"{PREFIX}{table.upper()}"
        raise ConfigurationError(f"{name}: it may mean {' or '.join(sorted(meant))}; {whole} takes all of it, as JSON")
    return meant[0] if meant else text


def _fold_name(text: str) -> str:
    return text.lower().replace("-", "_")


def _unknown_setting(name: str, settings: type[BaseModel]) -> ConfigurationError:
    known = list(_variable_names(settings))
    leaf = name.upper().rpartition("_")[2]
    likely = [one for one in known if leaf and one.rpartition("_")[2] == leaf]
    return ConfigurationError(f"{name}: there is no such setting; {suggest_name(name.upper(), likely or known)}")


def _variable_names(settings: type[BaseModel]) -> Iterator[str]:
    for section, info in settings.model_fields.items():
        kind = _strip_annotated(info.annotation)
        if _is_section(kind):
            yield from (f"{PREFIX}{section}{_LEVEL_SEPARATOR}{key}".upper() for key in kind.model_fields)
        else:
            yield f"{PREFIX}{section}".upper()


def _strip_annotated(kind: Any) -> Any:  # noqa: ANN401 - a type, or what `typing` makes of types
    """A type without its `Annotated` conditions."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind


def _parse_value(name: str, text: str, kind: Any) -> Any:  # noqa: ANN401 - as `_strip_annotated`
    """A variable's value, parsed as in a configuration file."""
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if not text and NoneType in members:
        return None
    kinds = [_strip_annotated(member) for member in members]
    if any(get_origin(member) is tuple for member in kinds):
        return _parse_list(name, text)
    if any(get_origin(member) is dict or _is_section(member) for member in kinds):
        return _parse_json(name, text, dict, 'a table as JSON, such as {"name": "value"}')
    if not text and str not in kinds:
        raise ConfigurationError(f"{name}: it is empty; give it a value or unset it")
    return text


def _parse_list(name: str, text: str) -> list[Any]:
    if text.lstrip().startswith("["):
        return _parse_json(name, text, list, 'a list as JSON, such as ["a", "b"], or a,b')  # type: ignore[no-any-return]
    return [part.strip() for part in text.split(",") if part.strip()]


def _parse_json(name: str, text: str, kind: type, right: str) -> Any:  # noqa: ANN401 - JSON
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise ConfigurationError(f"{name}: it has to be {right}")
    return value


def _is_section(kind: Any) -> bool:  # noqa: ANN401 - as `_strip_annotated`
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _set_value(content: dict[str, Any], place: Place, value: Any) -> None:  # noqa: ANN401 - any setting
    *above, last = place
    for part in above:
        content = content.setdefault(part, {})
    content[last] = value
