"""Probes of a process that is starting: whether it is ready. A refused connection and silence both mean no."""

from __future__ import annotations

import asyncio
import functools
import ssl
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from lockgate.cli.supervisor import Probe

ANSWER_WITHIN_S: Final = 2


def http_probe(host: str, port: int, path: str, *, expected: int = 200) -> Probe:
    """A probe: whether the response to `GET path` has the status code `expected`."""
    request = f"GET {path} HTTP/1.1\r\nHost: {_authority_of(host, port)}\r\n\r\n".encode()
    connect = functools.partial(asyncio.open_connection, host, port)
    return functools.partial(_is_answered, connect, request, f"HTTP/1.1 {expected} ".encode())


def tls_probe(host: str, port: int) -> Probe:
    """A probe: whether a TLS handshake completes on our side.

    No request is sent: the gateway may want a certificate of its clients. Its own is for other names than this address,
    so it is not checked: whether the listener is ours is known.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return functools.partial(_is_open, functools.partial(asyncio.open_connection, host, port, ssl=context))


def redis_probe(socket: Path) -> Probe:
    """A probe: whether a Redis on this socket replies to PING with PONG; a Redis that loads its data does not."""
    return functools.partial(
        _is_answered, functools.partial(asyncio.open_unix_connection, socket), b"PING\r\n", b"+PONG"
    )


async def _is_answered(connect: Callable[[], Awaitable[_Streams]], question: bytes, expected: bytes) -> bool:
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            reader, writer = await connect()
            try:
                writer.write(question)
                # The prober closes first, so that it is not the child's port that stays in TIME_WAIT.
                return (await reader.readexactly(len(expected))) == expected
            finally:
                writer.close()
    except (OSError, EOFError):  # asyncio's time-out is an OSError, its IncompleteReadError an EOFError
        return False


async def _is_open(connect: Callable[[], Awaitable[_Streams]]) -> bool:
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            _, writer = await connect()
            writer.close()
    except OSError:
        return False
    return True


_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def _authority_of(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
