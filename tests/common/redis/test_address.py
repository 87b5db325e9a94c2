"""Addresses of Redis: the meaning of each, and the error for a text that is no address. R-214."""

from __future__ import annotations

from typing import Final

import pytest

from lockgate_common.errors import ConfigurationError
from lockgate_common.redis.address import CLUSTER, SENTINEL, Group, Server, read_address

NOBODY: Final[dict[str, str]] = {}
AWKWARD: Final = "p@s:s/w?o#r%d +ü"
CODED: Final = "p%40s%3As%2Fw%3Fo%23r%25d%20+%C3%BC"

MEANT: Final[dict[str, tuple[object, ...]]] = {
    "redis://h": ((("h", 6379),), "", 0, {}, None),
    "redis://h:1/2": ((("h", 1),), "", 2, {}, None),
    "redis://h:1?db=3": ((("h", 1),), "", 3, {}, None),
    "redis://": ((("localhost", 6379),), "", 0, {}, None),
    "redis://:7/": ((("localhost", 7),), "", 0, {}, None),
    "redis://[::1]:7": ((("::1", 7),), "", 0, {}, None),
    f"redis://:{CODED}@h": ((("h", 6379),), "", 0, {"password": AWKWARD}, None),
    f"redis://{CODED}:{CODED}@h": ((("h", 6379),), "", 0, {"username": AWKWARD, "password": AWKWARD}, None),
    "redis://u@h": ((("h", 6379),), "", 0, {"username": "u"}, None),
    "redis://:p@q@h": ((("h", 6379),), "", 0, {"password": "p@q"}, None),
    "redis://u:a:b@h": ((("h", 6379),), "", 0, {"username": "u", "password": "a:b"}, None),
    "rediss://h?ssl_cert_reqs=none&ssl_check_hostname=false": (
        (("h", 6379),),
        "",
        0,
        {},
        {"ssl_cert_reqs": "none", "ssl_check_hostname": False},
    ),
    "unix:///a%20b?db=4": ((), "/a b", 4, {}, None),
    f"unix://u:{CODED}@/a": ((), "/a", 0, {"username": "u", "password": AWKWARD}, None),
    f"redis+sentinel://:{CODED}@a,[::1]:2/m/3": ((("a", 26379), ("::1", 2)), "m", 3, {"password": AWKWARD}, None),
    "rediss+sentinel://a/m?sentinel_username=u&sentinel_password=s%2B": ((("a", 26379),), "m", 0, {}, {}),
    f"redis+cluster://u:{CODED}@a,b:2": (
        (("a", 6379), ("b", 2)),
        "",
        0,
        {"username": "u", "password": AWKWARD},
        None,
    ),
    "rediss+cluster://a/0?ssl_cert_reqs=optional": ((("a", 6379),), "", 0, {}, {"ssl_cert_reqs": "optional"}),
}
REFUSED: Final = (
    "",
    "hunter2",
    "http://h",
    "redis://:hunter2#x@h",
    "redis://:hunter2/x@h",
    "redis://:hunter2?x@h",
    "redis://h:0",
    "redis://h:70000",
    "redis://h/hunter2",
    "redis://h/1?db=2",
    "redis://h/0/1",
    "redis://h#hunter2",
    "redis://h?hunter2=1",
    "redis://h?ssl_cert_reqs=none",
    "redis://h,i",
    "unix://hunter2",
    "unix://h/hunter2",
    "unix+cluster://h",
    "redis+other://h",
    "redis+sentinel://h",
    "redis+sentinel://h/m/hunter2",
    "redis+cluster://h/1",
    "redis+cluster://h?sentinel_password=hunter2",
)


def parts_of(url: str) -> tuple[object, ...]:
    """Hosts, the path of a socket or the name of a master, database, login and TLS."""
    found = read_address(url)
    if isinstance(found, Server):
        return ((found.host, found.port),) if found.host else (), found.path, found.db, found.login, found.tls
    return found.hosts, found.service, found.db, found.login, found.tls


@pytest.mark.parametrize("url", MEANT)
def test_an_address_means_the_same_to_every_program(url: str) -> None:
    """R-214."""
    assert parts_of(url) == MEANT[url]


@pytest.mark.parametrize("url", REFUSED)
def test_a_text_that_is_no_address_is_refused_and_not_shown(url: str) -> None:
    """R-214: a '#' in a password, say, would silently have led to another host."""
    with pytest.raises(ConfigurationError, match="redis_url") as caught:
        read_address(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "address"),
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
def test_an_address_is_read_as_it_is_written(url: str, address: Group) -> None:
    assert read_address(url) == address


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
        read_address(url)
    assert "hunter2" not in str(caught.value)
