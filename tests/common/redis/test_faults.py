"""The errors of redis-py become an outage, or a fault that does not heal by itself. R-214."""

from __future__ import annotations

from typing import Final

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ReadOnlyError, ResponseError

from lockgate_common.errors import StoreRefusedError, StoreUnavailableError
from lockgate_common.redis.faults import is_too_old, store_errors, translate_fault

SECRET: Final = "hunter2"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ResponseError("DENIED Redis is running in protected mode because …"), "it is in protected mode"),
        (ResponseError("unknown command `GETDEL`, with args beginning with: `hunter2`"), "it does not know GETDEL"),
        (ResponseError("unknown command 'HELLO', with args beginning with: '3'"), "older than Redis 6.2"),
        (ResponseError("The user executing the script can't run this command or subcommand"), "from a script"),
    ],
)
def test_what_servers_of_other_ages_say_is_understood(error: Exception, said: str) -> None:
    """R-214: these cannot all be had here; the texts are theirs."""
    fault = translate_fault(error)
    assert isinstance(fault, StoreRefusedError)
    assert said in str(fault)
    assert SECRET not in str(fault)


@pytest.mark.parametrize(
    ("version", "old"), [("6.0.16", True), ("6.2.0", False), ("7.0.15", False), ("10.1", False), ("", False)]
)
def test_a_redis_without_the_commands_is_too_old(version: str, old: bool) -> None:  # noqa: FBT001 - a parameter
    """R-214."""
    assert is_too_old(version) is old


def test_the_names_that_a_program_needs_are_told_where_they_are_forbidden() -> None:
    """R-214."""
    channel, key = NoPermissionError("No permissions to access a channel"), NoPermissionError("… access a key")
    assert str(translate_fault(channel, "lg:*")) == "its user may not use a channel that is needed (&lg:*)"
    assert str(translate_fault(key, "lg:*")) == "its user may not use a key that is needed (~lg:*)"
    assert str(translate_fault(key)) == "its user may not use a key that is needed"


def test_the_cause_of_an_error_says_more_than_the_error() -> None:
    error = RedisConnectionError("Error 111 connecting to hunter2:1")
    error.__cause__ = ConnectionRefusedError()
    assert str(translate_fault(error)) == "nothing listens at its address"


def test_an_outage_is_no_refusal() -> None:
    with pytest.raises(StoreUnavailableError, match="it is a replica") as caught, store_errors():
        raise ReadOnlyError("You can't write against a read only replica.")
    assert not isinstance(caught.value, StoreRefusedError)


def test_other_errors_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), store_errors():
        raise ZeroDivisionError
    with pytest.raises(StoreUnavailableError, match=r"^ResponseError$"), store_errors():
        raise ResponseError("with the value hunter2 in it")
