"""What a service says itself has the members of what its libraries say."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from lockgate_shop.kit.logs import configure_service_logs


@pytest.fixture(autouse=True)
def _own_configuration() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = []
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


def test_both_kinds_of_lines_have_the_same_members(capsys: pytest.CaptureFixture[str]) -> None:
    configure_service_logs("users", "info")
    structlog.get_logger("users").info("started", port=1)
    logging.getLogger("a library").warning("late", extra={"port": 1})
    ours, theirs = map(json.loads, capsys.readouterr().err.splitlines())
    assert ours.keys() | {"logger"} == theirs.keys()
    assert (ours["service"], theirs["service"]) == ("users", "users")
    assert len(ours["timestamp"]) == len(theirs["timestamp"])
