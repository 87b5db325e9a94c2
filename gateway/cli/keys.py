"""`lockgate keys`: make the keys that a deployment needs, and show which there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

from gateway.errors import ConfigurationError
from gateway.identity import keyring
from trust import LinkKeyError, create_link

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from gateway.settings import Settings

GATEWAY: Final = "gateway"
"""The gateway's name at its end of a link."""


def links_directory(settings: Settings) -> Path:
    """Where the link keys lie."""
    return settings.keys.directory / "links"


def create(settings: Settings, more_links: Collection[tuple[str, str]] = ()) -> list[str]:
    """Make what is missing: the key ring, and a link key from the gateway to each service it calls.

    Args:
        settings: say where, and for which services.
        more_links: links between services, as (origin, target).

    Returns:
        What was made, in words.

    Raises:
        ConfigurationError: a key cannot be written, or a link's name is none.
    """
    directory = links_directory(settings)
    made = [str(settings.keys.directory / "signing")] if keyring.create(settings.keys.directory) else []
    for origin, target in [*((GATEWAY, service) for service in settings.services), *more_links]:
        try:
            if create_link(directory, origin, target):
                made.append(f"link {origin} -> {target}")
        except LinkKeyError as error:
            raise ConfigurationError(str(error)) from error
        except OSError as error:
            raise ConfigurationError(f"{directory}: keys cannot be written ({error.strerror})") from error
    return made


def init(settings: Settings, links: Collection[str]) -> None:
    """Make what is missing and say so; `links` as `origin--target`."""
    made = create(settings, [_parsed_link(link) for link in links])
    for line in made or ["nothing to do: every key is there"]:
        typer.echo(line)


def show(settings: Settings) -> None:
    """List the keys; their names and states, never a secret.

    Raises:
        ConfigurationError: the key ring cannot be read.
    """
    ring = keyring.load(settings.keys.directory)
    for kid, key in ring.verifying.items():
        typer.echo(f"signing  {kid}  {key.alg}  {'active' if kid == ring.active.kid else 'verifies only'}")
    typer.echo(f"refresh  {len(ring.refresh_secrets)} secret(s)")
    for origin, target in _links(links_directory(settings)):
        typer.echo(f"link     {origin} -> {target}")


def _links(directory: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(directory.glob("*--*.json")):
        yield _parsed_link(path.stem)


def _parsed_link(text: str) -> tuple[str, str]:
    origin, separator, target = text.partition("--")
    if not separator:
        raise ConfigurationError(f"{text!r} is not a link: it reads origin--target")
    return origin, target
