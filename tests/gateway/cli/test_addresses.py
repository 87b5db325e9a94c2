from __future__ import annotations

import os
import socket

import pytest

from lockgate.cli import addresses
from lockgate.cli.addresses import Ports
from lockgate.errors import ConfigurationError
from lockgate.setting_values import is_loopback

HOST = "127.0.0.1"


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def test_a_busy_port_is_told_with_the_way_out() -> None:
    with (
        addresses.bind_listener(HOST, 0) as other,
        pytest.raises(ConfigurationError, match=r"in use; choose another with --port"),
    ):
        addresses.bind_listener(HOST, port_of(other))


@pytest.mark.parametrize("host", ["192.0.2.1", "a" * 64], ids=["elsewhere", "no name"])
def test_an_address_that_is_not_ours_is_told(host: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot listen on"):
        addresses.bind_listener(host, 0)


def test_a_listening_socket_can_be_adopted() -> None:
    with addresses.bind_listener(HOST, 0) as parent, addresses.adopt_listener(os.dup(parent.fileno())) as adopted:
        assert adopted.getsockname() == parent.getsockname()


def test_a_socket_that_does_not_listen_is_not_adopted() -> None:
    with socket.socket() as plain, pytest.raises(ConfigurationError, match="not a listening socket"):
        addresses.adopt_listener(plain.fileno())


def test_a_descriptor_that_is_no_socket_is_not_adopted() -> None:
    read, write = os.pipe()
    with os.fdopen(read), os.fdopen(write), pytest.raises(ConfigurationError, match="not a socket"):
        addresses.adopt_listener(read)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),  # noqa: S104 - as somebody may configure it
        ("::", "http://[::1]:8080"),
        ("::1", "http://[::1]:8080"),
        ("example.org", "http://example.org:8080"),
    ],
)
def test_the_printed_address_is_one_to_connect_to(host: str, expected: str) -> None:
    assert addresses.base_url(host, 8080) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("orders", False)],
)
def test_only_loopback_is_loopback(host: str, expected: bool) -> None:  # noqa: FBT001 - a table's column
    assert is_loopback(host) is expected


def test_a_free_port_is_taken_as_wanted() -> None:
    with addresses.bind_listener(HOST, 0) as found:
        wanted = port_of(found)
    with Ports() as ports:
        assert ports.take_port(HOST, wanted) == wanted


def test_another_port_is_taken_where_somebody_listens() -> None:
    with addresses.bind_listener(HOST, 0) as other, Ports() as ports:
        assert ports.take_port(HOST, port_of(other)) != port_of(other)


def test_a_port_that_another_stack_has_claimed_is_left_to_it() -> None:
    with addresses.bind_listener(HOST, 0) as found:
        wanted = port_of(found)
    with Ports() as first, Ports() as second:
        assert first.take_port(HOST, wanted) == wanted
        assert second.take_port(HOST, wanted) != wanted


def test_a_claim_ends_with_the_stack() -> None:
    with addresses.bind_listener(HOST, 0) as found:
        wanted = port_of(found)
    with Ports() as first:
        first.take_port(HOST, wanted)
    with Ports() as second:
        assert second.take_port(HOST, wanted) == wanted
