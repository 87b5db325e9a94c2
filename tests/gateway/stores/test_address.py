"""Addresses of Redis servers that stand for one another, and what is said of those that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.errors import ConfigurationError
from lockgate.stores.address import CLUSTER, SENTINEL, Group, group
from lockgate.stores.address import read as read_address
from lockgate.stores.redis import connect

NOBODY: dict[str, str] = {}


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("redis+sentinel://a/m", Group(SENTINEL, (("a", 26379),), "m", 0, NOBODY, NOBODY, None)),
        ("redis+sentinel://a:1,b:2/m/3", Group(SENTINEL, (("a", 1), ("b", 2)), "m", 3, NOBODY, NOBODY, None)),
        ("redis+cluster://a,[::1]:7", Group(CLUSTER, (("a", 6379), ("::1", 7)), "", 0, NOBODY, NOBODY, None)),
        ("redis+cluster://:p%40w@a:1/0", Group(CLUSTER, (("a", 1),), "", 0, {"password": "p@w"}, NOBODY, None)),
        (
            "rediss+sentinel://u:p@a:1/m?sentinel_password=s%2B&ssl_ca_certs=/ca.pem",
            Group(
                SENTINEL,
                (("a", 1),),
                "m",
                0,
                {"username": "u", "password": "p"},
                {"password": "s+"},
                {"ssl_ca_certs": "/ca.pem"},
            ),
        ),
        ("rediss+cluster://a:1", Group(CLUSTER, (("a", 1),), "", 0, NOBODY, NOBODY, {})),
    ],
)
def test_an_address_is_read_as_it_is_written(url: str, read: Group) -> None:
    assert group(url) == read


@pytest.mark.parametrize("url", ["redis://a:1/0", "rediss://a", "unix:///tmp/x", "redis+other://a", ""])
def test_any_other_address_is_none_of_a_group(url: str) -> None:
    assert group(url) is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis+sentinel://hunter2@a:1", "name-of-the-master"),
        ("redis+sentinel://a:1/", "name-of-the-master"),
        ("redis+sentinel://a:1/m/x", "name-of-the-master"),
        ("redis+cluster://a:1/1", "only the database 0"),
        ("redis+cluster://a:1,,b:1", "host:port"),
        ("redis+cluster://:hunter2@", "host:port"),
        ("redis+cluster://a:0", "host:port"),
        ("redis+cluster://a:70000", "host:port"),
        ("redis+cluster://a b:1", "host:port"),
        ("redis+cluster://a:1?ssl_ca_certs=/hunter2", "options of this kind of address are none"),
        ("redis+cluster://a:1?sentinel_password=hunter2", "options of this kind of address are none"),
        ("redis+sentinel://a:1/m?hunter2=1", "sentinel_password, sentinel_username"),
        ("redis+other://hunter2@a:1", r"redis\+sentinel:// or redis\+cluster://"),
    ],
)
def test_a_bad_address_is_a_configuration_error_that_says_what_is_wrong_and_does_not_show_it(
    url: str, why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        connect(url)
    assert "hunter2" not in str(caught.value)


def test_the_private_key_for_redis_is_nobody_elses_to_read(tmp_path: Path) -> None:
    """R-215: the same rule as for every other private key."""
    key = tmp_path / "key.pem"
    key.touch(mode=0o600)
    for scheme in ("rediss://h", "rediss+cluster://h", "rediss+sentinel://h/m"):
        address = f"{scheme}?ssl_keyfile={key}"
        key.chmod(0o600)
        read_address(address)
        key.chmod(0o644)
        with pytest.raises(ConfigurationError, match="ssl_keyfile: readable by others"):
            read_address(address)


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
def test_a_file_of_an_address_that_cannot_be_read_ends_the_start(option: str) -> None:
    """R-214: it would look like an outage later."""
    with pytest.raises(ConfigurationError, match=f"redis_url: {option}: its file cannot be read"):
        read_address(f"rediss://h?{option}=/nowhere/file.pem")
