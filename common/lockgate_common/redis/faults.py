"""Faults of Redis in words: an outage, which heals, is told apart from a configuration that never will.

A wrong password, a missing database, or TLS spoken to a plain port is an error of configuration, and such errors end a
start with exit code 2. But half of them are corrected at the server: an operator makes a user, sets a password, renews
a certificate. So `StoreUnavailableError` is an outage and `StoreRefusedError` is a fault that does not heal by itself,
and both leave the node running and trying; the log and `/readyz` say which one it is. Only an address that cannot be
read, and a Redis that evicts, end a start: with the first nothing can be tried, with the second a node would seem to
work and forget revocations.

The protocol has no code for some faults ("DB index is out of range"). Their texts stand in this file, and tests get
each from a real server that can be had. No text here has anything in it that the address keeps secret: it is made
here, and not taken from the error.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Final

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from lockgate_common.errors import StoreRefusedError, StoreUnavailableError

REDIS_FAULTS: Final = (RedisError, RedisClusterException, OSError)
"""What redis-py raises when Redis, or the way to it, fails."""
OLDEST: Final = (6, 2)
"""The first Redis that has all commands that are sent (GETDEL is the youngest)."""
A_CLUSTER: Final = "it is a node of a Cluster: its address begins with redis+cluster://"
NO_CLUSTER: Final = "it is no Cluster: its address begins with redis://"
TOO_OLD: Final = f"it is older than Redis {'.'.join(map(str, OLDEST))}"
_NOT_PERMITTED: Final = re.compile(r"run the '([A-Za-z|_.-]{1,40})' command")
_IN_A_SCRIPT: Final = re.compile(r"user executing the script can't|ACL failure in script")
_UNKNOWN: Final = re.compile(r"unknown command ['`]([A-Za-z|_.-]{1,40})['`]")

_WORDS: Final[tuple[tuple[type[BaseException], str, str], ...]] = (
    # Redis has one type of error for many things; these are known by the words that it begins with.
    (ResponseError, "DB index is out of range", "it has no database of this number"),
    (
        ResponseError,
        "DENIED",
        "it is in protected mode: without a password it serves its own machine only",
    ),
    (ResponseError, "This instance has cluster support disabled", NO_CLUSTER),
    (ResponseError, "invalid DB index", "it has no database of this number"),
    (ResponseError, "SELECT is not allowed in cluster mode", A_CLUSTER),
    (RedisClusterException, "Cluster mode is not enabled", NO_CLUSTER),
)
_TRANSIENT: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (BusyLoadingError, "it is loading its data"),
    (OutOfMemoryError, "it is full, so nothing more can be written"),
    (ReadOnlyError, "it is a replica, which takes no writes"),
    (socket.gaierror, "its host name cannot be resolved"),
    (ConnectionRefusedError, "nothing listens at its address"),
    (FileNotFoundError, "there is no socket at its path"),
    (PermissionError, "its socket may not be opened"),
    (RedisTimeoutError, "it did not answer in time"),
    (TimeoutError, "it did not answer in time"),
    (ConnectionResetError, "it ended the connection"),
    (ClusterDownError, "the Cluster is down"),
    (RedisClusterException, "no node of the Cluster can be asked, or slots have no master"),
    (RedisConnectionError, "the connection to it broke off"),
)


def translate_fault(error: BaseException, names: str = "") -> StoreUnavailableError:
    """The fault as one of ours: a `StoreRefusedError` where trying again is of no use.

    Args:
        error: one of `REDIS_FAULTS`; its causes are looked at, too.
        names: the pattern of the keys and channels that the program needs, to be told where they are forbidden.
    """
    chain = _causes_of(error)
    for cause in chain:
        if (lasting := _describe_lasting_fault(cause, names)) is not None:
            return StoreRefusedError(lasting)
    if isinstance(error, MasterNotFoundError):
        return StoreUnavailableError(str(error))  # in our own words, see `sentinel`
    for kind, text in _TRANSIENT:
        if any(isinstance(cause, kind) for cause in chain):
            return StoreUnavailableError(text)
    return StoreUnavailableError(type(error).__name__)


@contextlib.contextmanager
def store_errors(translate: Callable[[BaseException], StoreUnavailableError] = translate_fault) -> Iterator[None]:
    """Turn every fault of Redis, or of the way to it, into one error of ours.

    Args:
        translate: makes our error of one of `REDIS_FAULTS`.

    Raises:
        StoreUnavailableError: a reply did not come, or said that the command was not carried out. A write may have
            happened all the same. `StoreRefusedError` where that does not heal by itself.
    """
    try:
        yield
    except REDIS_FAULTS as error:
        raise translate(error) from error


def is_too_old(version: str) -> bool:
    """Whether a version, such as `7.0.15`, lacks commands that are sent; one that cannot be read does not."""
    numbers = re.match(r"([0-9]{1,5})\.([0-9]{1,5})", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) < OLDEST


def _describe_lasting_fault(cause: BaseException, names: str) -> str | None:
    """What does not heal by itself, or `None`."""
    if isinstance(cause, NoPermissionError):
        return _describe_missing_permission(str(cause), names)
    if isinstance(cause, AuthenticationError):
        return _describe_failed_login(str(cause))
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({cause.verify_message})"
    if isinstance(cause, ssl.SSLError):
        return f"TLS does not come about ({(cause.reason or 'error').lower().replace('_', ' ')})"
    for kind, words, text in _WORDS:
        if isinstance(cause, kind) and str(cause).startswith(words):
            return text
    return _describe_refused_command(cause)


def _describe_missing_permission(message: str, names: str) -> str:
    if (command := _NOT_PERMITTED.search(message)) is not None:
        return f"its user may not run {command[1].upper()}"
    kind, sign = ("channel", "&") if "channel" in message else ("key", "~")
    return f"its user may not use a {kind} that is needed" + (f" ({sign}{names})" if names else "")


def _describe_failed_login(message: str) -> str:
    # HELLO without a password, and any other command without one.
    if message.startswith(("HELLO must be called", "Authentication required")):
        return "it wants a password, and its address has none"
    if "without any password configured" in message:
        return "it has no password, and its address has one"
    return "user name or password is wrong, or the user is disabled"


def _describe_refused_command(cause: BaseException) -> str | None:
    if not isinstance(cause, ResponseError):
        return None
    if (command := _UNKNOWN.search(str(cause))) is not None:
        return f"it does not know {command[1].upper()}: it is another kind of server, or {TOO_OLD}"
    if _IN_A_SCRIPT.search(str(cause)) is not None:
        return "its user may not do from a script what scripts do"
    return None


def _causes_of(error: BaseException) -> list[BaseException]:
    """The error, and what it was made of."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return chain
