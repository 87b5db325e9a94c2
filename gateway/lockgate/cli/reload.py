"""`lockgate reload` and `lockgate routes diff`: a running gateway is asked, and its answer is shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from lockgate.cli import configuration, control
from lockgate.cli.reloader import Outcome
from lockgate.cli.supervisor import MISCONFIGURED
from lockgate.errors import LockgateError
from lockgate.policy.changes import RestartNeededError, compare_settings, revision_of
from lockgate.settings import DEFAULT_FILE

if TYPE_CHECKING:
    from pathlib import Path


def reload(config: Path | None, *, as_json: bool) -> None:
    """Have every gateway that runs by a configuration file reload its rules.

    Raises:
        LockgateError: none runs, or one does not answer.
        SystemExit: one has refused.
    """
    _show_outcomes(_ask_gateways(config, "reload"), as_json=as_json, done=True)


def show_differences(config: Path | None, other: Path | None, *, as_json: bool) -> None:
    """Show what a reload would change.

    Args:
        config: the configuration file.
        other: a file that would take its place; `None`: the file is compared with what its gateway goes by.
        as_json: for programs.

    Raises:
        ConfigurationError: one of the files is not acceptable.
        LockgateError: no gateway runs, or one does not answer.
        SystemExit: the reload would be refused.
    """
    outcomes = _ask_gateways(config, "compare") if other is None else [_compare_files(config, other)]
    _show_outcomes(outcomes, as_json=as_json, done=False)


def _ask_gateways(config: Path | None, do: str) -> list[dict[str, Any]]:
    outcomes = control.ask_all(config, do)
    if not outcomes:
        raise LockgateError(f"no gateway of this account runs by {config or DEFAULT_FILE}")
    return outcomes


def _compare_files(config: Path | None, other: Path) -> dict[str, Any]:
    before = configuration.load_configuration(config)
    changes = compare_settings(before, configuration.load_configuration(other))
    problem = str(RestartNeededError(changes.restart)) if changes.restart else None
    return Outcome(revision_of(before), changes.rules, problem).as_json()


def _show_outcomes(outcomes: list[dict[str, Any]], *, as_json: bool, done: bool) -> None:
    if as_json:
        typer.echo(json.dumps(outcomes, indent=2))
    else:
        for outcome in outcomes:
            _show_outcome(outcome, done=done)
    if any(outcome["problem"] is not None for outcome in outcomes):
        raise SystemExit(MISCONFIGURED)


def _show_outcome(outcome: dict[str, Any], *, done: bool) -> None:
    revision, changes, problem = outcome["revision"], outcome["changes"], outcome["problem"]
    for change in changes:
        for line in _describe_change(change):
            typer.echo(line)
    if problem is not None:
        verb = "refused" if done else "would be refused"
        typer.echo(f"lockgate: {verb}, revision {revision} stays in use: {problem}", err=True)
    elif not changes:
        typer.echo(f"revision {revision}: nothing to change")
    elif done:
        typer.echo(f"revision {revision}: {len(changes)} changed")
    else:
        typer.echo(f"revision {revision} is in use; a reload would change {len(changes)}")


def _describe_change(change: dict[str, Any]) -> list[str]:
    place, before, after = change["place"], change["before"], change["after"]
    if before is None:
        return [f"+ {place} = {_as_text(after)}"]
    if after is None:
        return [f"- {place} = {_as_text(before)}"]
    return [f"- {place} = {_as_text(before)}", f"+ {place} = {_as_text(after)}"]


def _as_text(value: object) -> str:
    """A value as JSON in ASCII, so that no byte of a file reaches a terminal as it is."""
    if isinstance(value, dict):
        value = {name: entry for name, entry in value.items() if entry not in (None, [], {}, False)}
    return json.dumps(value)
