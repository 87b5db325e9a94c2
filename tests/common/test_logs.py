"""One event is one line, even with line breaks in its values (R-184)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from lockgate_common.logs import RENDER, configure_logging


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(level)


def name(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {**event, "service": "users"}


def test_an_event_with_line_breaks_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(name)
    logging.getLogger("a library").warning("one\ntwo\x1b[2J")
    (line,) = capsys.readouterr().err.splitlines()
    assert {**json.loads(line), "timestamp": ""} == {
        "event": "one\ntwo\x1b[2J",
        "level": "warning",
        "service": "users",
        "timestamp": "",
    }
    assert line.isprintable()


def test_an_exception_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    logging.getLogger("a library").error("failed", exc_info=LookupError("nothing"))
    (line,) = capsys.readouterr().err.splitlines()
    assert "LookupError: nothing" in json.loads(line)["exception"]


def test_what_libraries_say_below_a_warning_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    logging.getLogger("a library").info("busy")
    assert capsys.readouterr().err == ""


def test_loggers_of_structlog_get_the_same_members(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.wrap_logger(structlog.PrintLogger(), processors=[*configure_logging(name), RENDER]).info("started")
    assert json.loads(capsys.readouterr().out).keys() == {"event", "level", "service", "timestamp"}
