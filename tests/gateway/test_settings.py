"""Where a setting comes from, and the one clear line about one that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lockgate import settings
from lockgate.cpus import count_usable_cpus
from lockgate.errors import ConfigurationError
from lockgate.route_settings import RouteSettings
from lockgate.setting_values import upstream_address, upstream_path
from lockgate.settings import ServerSettings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "LOCKGATE_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


def load(folder: Path, text: str) -> settings.Settings:
    file = folder / "lockgate.toml"
    file.write_text(text, encoding="utf-8")
    return settings.load_settings(file)


def test_the_file_that_comes_with_the_program_is_good() -> None:
    assert {route.name for route in settings.load_settings(ROOT / "lockgate.toml").route} >= {
        "users",
        "orders",
        "products",
    }


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[server]\nport = 1111\nhost = "127.0.0.2"\n'
    monkeypatch.setenv("LOCKGATE_SERVER__PORT", "2222")
    server = load(tmp_path, text).server
    assert (server.port, server.host, server.workers) == (2222, "127.0.0.2", 1)


def test_redis_is_named_in_the_file_or_in_either_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def url() -> str:
        found = load(tmp_path, 'redis_url = "redis://file:1"\n').redis_url
        assert found is not None
        return found.get_secret_value()

    assert url() == "redis://file:1"
    monkeypatch.setenv("REDIS_URL", "redis://plain:1")
    assert url() == "redis://plain:1"
    monkeypatch.setenv("LOCKGATE_REDIS_URL", "redis://ours:1")
    assert url() == "redis://ours:1"


def test_a_secret_does_not_show_when_settings_are_printed(tmp_path: Path) -> None:
    assert "hunter2" not in repr(load(tmp_path, 'redis_url = "redis://:hunter2@host:1"\n'))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server", "not valid TOML"),
        ("[server]\nprot = 1\n", "server.prot"),
        ("colour = 1\n", "colour"),
        ("[server]\nport = 65536\n", "server.port"),
        ('[server]\nport = "hunter2"\n', "server.port"),
        ("[server]\nworkers = 0\n", "server.workers"),
        ('[server]\nworkers = "hunter2"\n', "server.workers"),
        ('[server]\ntrusted_proxies = ["hunter2"]\n', "server.trusted_proxies"),
        ("[token]\nleeway_s = 61\n", "token.leeway_s"),
        ("[token]\naccess_life_s = 29\n", "token.access_life_s"),
        ("[token]\nrefresh_grace_s = 31\n", "token.refresh_grace_s"),
        ('[token]\nissuer = ""\n', "token.issuer"),
        ('[token]\nissuer = "not a url"\n', "token.issuer"),
        ('[token]\nissuer = "ftp://a.example"\n', "token.issuer"),
        ('[token]\nissuer = "https://a.example?x=y"\n', "token.issuer"),
        ('[token]\nissuer = "https://a.example/?"\n', "token.issuer"),
        ('[token]\nissuer = "https://a.example#x"\n', "token.issuer"),
        ('[token]\nissuer = "https://user@a.example"\n', "token.issuer"),
        ('[token]\nissuer = "https://a.example\\n"\n', "token.issuer"),
        ("[token]\nrefresh_idle_s = 3601\nrefresh_absolute_s = 3600\n", "token"),
        ('[upstreams]\nusers = ["ftp://hunter2"]\n', "upstreams.users"),
        ("[upstreams]\nusers = []\n", "upstreams.users"),
        ('[[route]]\nname = "A B"\nprefix = "/a"\nupstreams = ["http://127.0.0.1:1"]\n', "route.0.name"),
        ('[[route]]\nname = "a"\nprefix = "a"\nupstreams = ["http://127.0.0.1:1"]\n', "route.0.prefix"),
        ('[[route]]\nname = "a"\nprefix = "/a"\nupstreams = []\n', "route.0.upstreams"),
        ('[[route]]\nname = "a"\nprefix = "/a"\nupstreams = ["http://h:1"]\nauth = "none"\n', "route.0.auth"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it_and_not_its_value(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    line = str(caught.value)
    assert said in line
    assert "lockgate.toml" in line
    assert "\n" not in line
    assert "hunter2" not in line


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-253: variables and file; a misspelt name is not told as a missing one, too."""
    monkeypatch.setenv("LOCKGATE_SERVER__PROT", "1")
    monkeypatch.setenv("LOCKGATE_TOKEN__LEEWAY_S", "ten")
    text = """
[server]
workers = "many"
[[route]]
name = "a"
prefx = "/a"  # codespell:ignore prefx
[[route]]
name = "b"
prefix = "b"
upstreams = ["http://127.0.0.1:1"]
"""
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    file = tmp_path / "lockgate.toml"
    assert sorted(caught.value.args) == sorted(
        [
            "LOCKGATE_SERVER__PROT: there is no such setting; did you mean LOCKGATE_SERVER__PORT?",
            "LOCKGATE_TOKEN__LEEWAY_S: Input should be a valid integer, unable to parse string as an integer",
            f'{file}: server.workers: a number from 1 to 64, or "auto": one for each usable CPU',
            f"{file}: route.0.prefx: route 'a': there is no such setting; did you mean prefix?",
            f"{file}: route.1.prefix: route 'b': a prefix begins with a slash",
        ]
    )


def test_a_route_in_a_variable_is_told_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_ROUTE", '[{"name": "a", "prefix": "a", "upstreams": ["http://127.0.0.1:1"]}]')
    with pytest.raises(ConfigurationError, match=r"^LOCKGATE_ROUTE: route 'a': a prefix begins with a slash$"):
        load(tmp_path, "")


@pytest.mark.parametrize("workers", ['"hunter2"', "0", "65", "1.5"])
def test_how_many_workers_there_may_be_is_told_with_auto(tmp_path: Path, workers: str) -> None:
    with pytest.raises(ConfigurationError, match='a number from 1 to 64, or "auto"'):
        load(tmp_path, f"[server]\nworkers = {workers}\n")


def test_auto_stands_for_a_worker_on_each_usable_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(tmp_path, '[server]\nworkers = "auto"\n').server.workers == count_usable_cpus()
    monkeypatch.setenv("LOCKGATE_SERVER__WORKERS", "auto")
    assert load(tmp_path, "").server.workers == count_usable_cpus()


@pytest.mark.parametrize(
    "issuer", ["https://a.example", "https://a.example:8443/", "http://[::1]:8080", "https://a.example/shop/~x%20y"]
)
def test_an_issuer_is_a_url_without_query_and_fragment(tmp_path: Path, issuer: str) -> None:
    """RFC 8414 section 2"""
    assert load(tmp_path, f'[token]\nissuer = "{issuer}"\n').token.issuer == issuer


@pytest.mark.parametrize("section", ["keys", "token"])
@pytest.mark.parametrize("name", ["jwks", "jwks_uri", "jwks_url", "url"])
def test_keys_are_files_and_no_address_can_be_given_for_them(tmp_path: Path, section: str, name: str) -> None:
    """R-166: a remote key set is not supported: neither configuration nor token (R-05) makes the gateway fetch one."""
    with pytest.raises(ConfigurationError, match=f"{section}.{name}"):
        load(tmp_path, f'[{section}]\n{name} = "https://keys.example/jwks.json"\n')


def test_a_variable_that_cannot_be_read_is_one_line_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_ROLES", "{hunter2")
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, "")
    assert "LOCKGATE_ROLES" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_missing_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.toml: cannot be read .*; name yours with --config, "):
        settings.load_settings(tmp_path / "missing.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"binary\.toml: not valid TOML"):
        settings.load_settings(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:80", ("127.0.0.1", 80)),
        ("http://orders:65535", ("orders", 65535)),
        ("http://[::1]:1", ("::1", 1)),
        ("http://orders:80/base/a~b:c@d", ("orders", 80)),
        ("https://orders:80/.base./...", ("orders", 80)),
    ],
)
def test_an_upstream_is_a_host_and_a_port_and_maybe_a_path(url: str, address: tuple[str, int]) -> None:
    assert upstream_address(url) == address
    assert upstream_path(url) == url[8:].partition("/")[1] + url[8:].partition("/")[2]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "orders:80",
        "http://orders",
        "http://:80",
        "http://orders:",
        "http://orders:0",
        "http://orders:65536",
        "http://orders:٨٠",
        "http://a:b:80",
        "http://orders:80/",
        "http://orders:80?x",
        "http://orders:80/base/",
        "http://orders:80//base",
        "http://orders:80/a//b",
        "http://orders:80/base?x",
        "http://orders:80/base#x",
        "http://orders:80/a/../b",
        "http://orders:80/..",
        "http://orders:80/./b",
        "http://orders:80/%62",
        "http://orders:80/a;b",
        "http://orders:80/a\\b",
        "http://orders:80/grüße",
        "http://orders:80base",
        "http://user@orders:80",
        "http://user:pw@orders:80",
        "http://orders :80",
        "http://or\nders:80",
        "HTTP://orders:80",
        "gopher://orders:80",
    ],
)
def test_an_upstream_is_nothing_more_than_that(url: str) -> None:
    """R-79"""
    with pytest.raises(ValueError, match="an upstream is"):
        upstream_address(url)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[sever]\nport = 1\n", "sever: there is no such setting; did you mean server?"),
        ("[server]\nprot = 1\n", "server.prot: there is no such setting; did you mean port?"),
        ("[Server]\nport = 1\n", "Server: there is no such setting; did you mean server?"),
        ('[[routes]]\nname = "a"\n', "routes: there is no such setting; did you mean route?"),
        ('[[route]]\nname = "a"\nprefix = "/a"\nupstream = ["http://h:1"]\n', "route.0.upstream"),
        (
            '[[route]]\nname = "a"\nprefix = "/a"\nupstreams = ["http://h:1"]\nscope = 1\n',
            "route.0.scope: route 'a': there is no such setting; did you mean scopes?",
        ),
        (
            '[[route]]\nname = "a"\nprefx = "/a"\nupstreams = ["http://h:1"]\n',  # codespell:ignore prefx
            "route.0.prefx: route 'a': there is no such setting; did you mean prefix?",  # codespell:ignore prefx
        ),
        ("[log]\nlevel = 1\n", "log.level: there is no such setting; there are access"),
        ('[upstreams]\nuser = ["http://h:1"]\n', "no route leads to a service user; did you mean users?"),
    ],
)
def test_what_is_mistyped_in_the_file_is_told_what_would_be_right(tmp_path: Path, text: str, said: str) -> None:
    """R-218."""
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "host", ["https://api.example", "api.example:443", "api.example/", "*.example", "*", "", "a b", "api..example"]
)
def test_a_host_that_no_request_can_have_is_refused_with_one_that_is_right(host: str) -> None:
    """R-206, R-211: accepted, it would make every request 421."""
    with pytest.raises(ValidationError, match=r"no host name; one is such as api\.example"):
        ServerSettings(allowed_hosts=(host,))


@pytest.mark.parametrize("host", ["api.example", "API.Example.", "api", "10.0.0.1", "[::1]"])
def test_a_host_is_kept_as_requests_have_it(host: str) -> None:
    """R-206."""
    assert ServerSettings(allowed_hosts=(host,)).allowed_hosts == (host.lower().rstrip("."),)


def test_the_field_of_the_address_may_be_written_as_its_documentation_does() -> None:
    """R-205."""
    server = ServerSettings.model_validate({"forwarded_from": "CF-Connecting-IP"})
    assert server.forwarded_from == "cf-connecting-ip"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('[server]\ntrusted_proxies = ["10.0.0.1/8"]', r"would be '10\.0\.0\.0/8'"),
        ('[server]\ntrusted_proxies = ["nginx"]', "no address or network, such as"),
        (
            '[[route]]\nname = "notes"\nprefix = "notes"\nupstreams = ["http://127.0.0.1:1"]',
            "route 'notes': a prefix begins with",
        ),
        (
            '[[route]]\nname = "n"\nprefix = "/n"\nupstreams=["http://a:1"]\nstrip_prefix = true\nreplace_prefix = "/"',
            "route 'n': strip_prefix and replace_prefix exclude each other",
        ),
        (
            '[[route]]\nname = "notes"\nprefix = "/notes"\nupstreams = ["http://127.0.0.1:1"]\nreplace_prefix = "v2"',
            "route 'notes': a prefix begins with",
        ),
        (
            '[[route]]\nname = "notes"\nprefix = "/notes"\nupstreams = ["http://127.0.0.1:1/base/"]',
            "route 'notes': an upstream is .* slash at its end",
        ),
        ('[[route]]\nprefix = "notes"\nupstreams = ["http://127.0.0.1:1"]', "route number 1: "),
    ],
)
def test_a_wrong_value_is_told_with_what_would_be_right(tmp_path: Path, content: str, says: str) -> None:
    """R-218: in words, and with the route's name."""
    file = tmp_path / "lockgate.toml"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=says):
        settings.load_settings(file, {})


def _hosts_of_route(*hosts: str) -> tuple[str, ...]:
    content: dict[str, Any] = {"name": "a", "prefix": "/", "upstreams": ["http://127.0.0.1:1"], "hosts": hosts}
    return RouteSettings(**content).hosts


@pytest.mark.parametrize(
    ("host", "kept"),
    [
        ("Wiki.Example.", "wiki.example"),
        ("*.Example.ORG", "*.example.org"),
        ("*.org", "*.org"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("10.0.0.1", "10.0.0.1"),
        ("[0:0::1]", "[::1]"),
    ],
)
def test_the_host_of_a_route_is_kept_as_requests_have_it(host: str, kept: str) -> None:
    """R-260."""
    assert _hosts_of_route(host) == (kept,)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("*", "no host name"),
        ("*.", "no host name"),
        ("*example.org", "no host name"),
        ("a.*.example", "no host name"),
        ("*.*.example", "no host name"),
        ("a.example:80", "no host name"),
        ("https://a.example", "no host name"),
        ("bücher.example", "A-label form begins with xn--"),
        ("*.bücher.example", "A-label form begins with xn--"),
        ("*.0.0.1", "list each address"),
        ("*.[::1]", "list each address"),
    ],
)
def test_a_host_that_no_route_can_have_is_refused(host: str, said: str) -> None:
    """R-260."""
    with pytest.raises(ValidationError, match=said):
        _hosts_of_route(host)


def test_a_setting_that_a_redirect_lacks_is_named(tmp_path: Path) -> None:
    """R-218: also in a table within a route."""
    route = '[[route]]\nname = "a"\nprefix = "/a"\nredirect = { to = "/b", statuz = 301 }\n'
    with pytest.raises(ConfigurationError, match=r"route\.0\.redirect\.statuz: route 'a': .* did you mean status\?"):
        load(tmp_path, route)


def test_the_guide_to_routes_names_every_setting_of_a_route() -> None:
    text = (Path(__file__).parents[2] / "docs/guides/routes.md").read_text(encoding="utf-8")
    table = text[text.index("## Every setting") :]
    missing = {name for name in RouteSettings.model_fields if f"`{name}`" not in table}
    assert not missing
