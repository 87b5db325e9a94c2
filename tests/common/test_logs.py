"""One event is one line, even with line breaks in its values (R-184)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from lockgate_common.logs import configure_logging, format_time


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(level)


def test_an_event_with_line_breaks_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(service="users")
    logging.getLogger("a library").warning("%s\ntwo\x1b[2J", "one")
    (line,) = capsys.readouterr().err.splitlines()
    assert {**json.loads(line), "timestamp": ""} == {
        "event": "one\ntwo\x1b[2J",
        "level": "warning",
        "logger": "a library",
        "service": "users",
        "timestamp": "",
    }
    assert line.isprintable()


def test_what_is_told_beside_an_event_is_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    logging.getLogger("a library").error("failed", extra={"request_id": "1\n2", "where": object})
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line).keys() == {"event", "level", "logger", "request_id", "timestamp", "where"}
    assert json.loads(line)["request_id"] == "1\n2"


def test_the_time_is_in_utc_to_the_microsecond() -> None:
    assert format_time(1_000_000_000.25) == "2001-09-09T01:46:40.250000Z"


def test_an_exception_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    logging.getLogger("a library").error("failed", exc_info=LookupError("nothing"))
    (line,) = capsys.readouterr().err.splitlines()
    assert "LookupError: nothing" in json.loads(line)["exception"]


def test_what_libraries_say_below_a_warning_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    logging.getLogger("a library").info("busy")
    assert capsys.readouterr().err == ""
