from __future__ import annotations

import json
import socket
import tomllib
from typing import TYPE_CHECKING

import pytest

from lockgate import SERVING
from lockgate.cli import addresses
from lockgate.route_settings import RouteSettings
from tests.support.commands import CONFIG, ROOT, called, lockgate

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.stack


@pytest.fixture
def busy_port() -> Iterator[str]:
    with addresses.bind_listener("127.0.0.1", 0) as listener:
        yield str(listener.getsockname()[1])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The shipped configuration, with keys of its own."""
    file = tmp_path / "lockgate.toml"
    file.write_text(CONFIG.read_text().replace('directory = "keys"', f'directory = "{tmp_path / "keys"}"'))
    return file


def assert_refused(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    """One line on standard error, nothing on standard output, exit code 2."""
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    assert result.stderr.startswith("lockgate: ")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


@pytest.mark.parametrize("command", ["dev", "serve"])
def test_a_busy_port_is_one_clear_line(command: str, config: Path, busy_port: str, tmp_path: Path) -> None:
    result = lockgate(command, "--config", config, "--port", busy_port, cwd=tmp_path)
    assert_refused(result, f"port {busy_port} on 127.0.0.1 is in use", "--port")
    assert not (tmp_path / ".lockgate").exists()


def test_a_data_folder_that_cannot_be_written_is_one_clear_line(config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = lockgate("dev", "--config", config, "--port", "0", "--data", tmp_path / "file" / "data")
    assert_refused(result, f"{tmp_path / 'file' / 'data'}: cannot be written")


def test_a_key_folder_that_cannot_be_written_is_one_clear_line(config: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").touch()
    result = lockgate("dev", "--config", config, "--port", "0", "--data", tmp_path / "data")
    # By then it has said which ports it takes instead of those that are in use on this machine.
    assert result.returncode == 2
    assert result.stderr.startswith(f"lockgate: {tmp_path / 'keys'}: keys cannot be written")
    assert result.stderr.count("\n") == 1
    assert "ready" not in result.stdout


EXTRA_ROUTE = """
[[route]]
name = "more"
prefix = "/more"
upstreams = ["http://127.0.0.1:1"]
scopes = {GET = ["everything"]}
"""
COMMANDS = [["dev", "--port", "0"], ["serve", "--port", "0"], ["routes", "check"]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[server\n", "not valid TOML"),
        ("[server]\nport = 'many'\n", "server.port"),
        ("[[route]]\nname = 'a'\nprefix = '/auth'\nupstreams = ['http://127.0.0.1:1']\n", "/auth"),
    ],
    ids=["no TOML", "a bad value", "a bad route"],
)
def test_a_broken_configuration_is_one_clear_line(
    command: list[str], content: str, complaint: str, tmp_path: Path
) -> None:
    (tmp_path / "lockgate.toml").write_text(content)
    assert_refused(lockgate(*command, cwd=tmp_path), complaint)
    assert [path.name for path in tmp_path.iterdir()] == ["lockgate.toml"]


def test_a_missing_configuration_is_one_clear_line(tmp_path: Path) -> None:
    assert_refused(lockgate("dev", cwd=tmp_path), "lockgate.toml: cannot be read")


def test_all_routes_that_cannot_be_are_told_at_once(config: Path) -> None:
    """R-253."""
    config.write_text(config.read_text().replace('prefix = "/products"', 'prefix = "/auth"') + EXTRA_ROUTE)
    result = called("routes", "check", "--config", config)
    assert (result.returncode, result.stdout) == (2, "")
    more, own = result.stderr.splitlines()
    assert more == "lockgate: route 'more': no role grants the scope 'everything'"
    assert own.startswith("lockgate: route 'products': /auth is never routed: it is the gateway's own; server.own_host")


def test_an_option_that_cannot_be_is_told_by_its_name(config: Path) -> None:
    result = called("serve", "--config", config, "--workers", "many")
    assert_refused(result, '--workers: a number from 1 to 64, or "auto"')


def test_a_descriptor_that_is_no_socket_is_one_clear_line(config: Path) -> None:
    assert_refused(lockgate("serve", "--config", config, "--fd", "77"), "--fd 77: not a socket")


def test_the_route_table_names_every_route(config: Path) -> None:
    result = called("routes", "check", "--config", config)
    assert result.returncode == 0
    prefixes = [line.split()[1] for line in result.stdout.splitlines()]
    assert prefixes == ["PREFIX", "/users/register", "/products", "/orders", "/users"]


def test_the_route_table_tells_programs_everything_of_a_route(config: Path) -> None:
    """Also what a route does not say itself: the key that signs, where it leads, how large a body may be."""
    result = called("routes", "check", "--json", "--config", config, REDIS_URL="redis://:hunter2@h:7/3")
    content = json.loads(result.stdout)
    assert (content["redis"], content["accounts"]["service"], result.stderr) == ("h:7", "users", "")
    assert "hunter2" not in result.stdout
    first = content["routes"][0]
    assert first.keys() == {*RouteSettings.model_fields, "prefix_at_service"}
    assert (first["prefix"], first["service"], first["body_bytes"]) == ("/users/register", "users", 10_485_760)
    assert first["rate"] == ["60/h per address"]


def test_the_route_table_has_a_column_for_everything(config: Path) -> None:
    headings, *rows = called("routes", "check", "--config", config).stdout.splitlines()
    assert headings.split()[:3] == ["HOST", "PREFIX", "NAME"]
    assert [row.split()[2] for row in rows] == ["users-register", "products", "orders", "users"]
    assert "60/h per address" in rows[0]
    assert "public_write=true" in rows[0]
    assert "websocket=/orders/events" in rows[2]


def test_the_route_table_shows_header_rules_and_chosen_names(config: Path) -> None:
    """R-268, R-320."""
    config.write_text(
        config.read_text().replace(
            'prefix = "/orders"',
            'prefix = "/orders"\nidentity_headers = { user = "X-Forwarded-User" }\n'
            'request_headers = { set = { X-Tenant = "a b" }, remove = ["X-Debug"] }',
        )
    )
    rows = called("routes", "check", "--config", config).stdout.splitlines()
    (row,) = (row for row in rows if "/orders" in row.split())
    assert 'identity_headers={"user":"X-Forwarded-User"}' in row
    assert 'request_headers={"set":{"X-Tenant":"a b"},"remove":["X-Debug"]}' in row


def test_a_header_rule_that_cannot_be_is_one_clear_line(config: Path) -> None:
    """R-268."""
    config.write_text(
        config.read_text().replace(
            'prefix = "/orders"', 'prefix = "/orders"\nrequest_headers = { set = { X-User-Id = "root" } }'
        )
    )
    result = called("routes", "check", "--config", config)
    assert (result.returncode, result.stdout) == (2, "")
    fault = (
        "route 'orders': request_headers.set: X-User-Id is out of reach: the gateway itself writes, reads or removes it"
    )
    assert result.stderr.splitlines() == [f"lockgate: {fault}"]


def test_the_route_table_shows_what_a_service_gets_in_place_of_a_prefix(tmp_path: Path) -> None:
    """R-267."""
    file, url = tmp_path / "lockgate.toml", "http://127.0.0.1:1"
    route = '[[route]]\nname = "{0}"\nprefix = "/{0}"\nupstreams = ["{1}"]\n{2}\n'
    file.write_text(
        '[accounts]\nservice = "a"\n'
        + route.format("a", url, "")
        + route.format("b", f"{url}/base", "strip_prefix = true")
        + route.format("c", "http://127.0.0.1:2", 'replace_prefix = "/v2"')
        + route.format("d", "http://127.0.0.1:3", "strip_prefix = true")
    )
    rows = called("routes", "check", "--config", file).stdout.splitlines()[1:]
    ends = ["http://127.0.0.1:1", f"{url}/base (as /base)", "http://127.0.0.1:2 (as /v2)", "http://127.0.0.1:3 (as /)"]
    assert all(row.rstrip().endswith(end) for row, end in zip(rows, ends, strict=True))
    content = json.loads(called("routes", "check", "--json", "--config", file).stdout)
    assert [one["prefix_at_service"] for one in content["routes"]] == ["/a", "/base", "/v2", "/"]


def test_the_route_table_is_in_the_order_in_which_a_request_is_matched(tmp_path: Path) -> None:
    """R-260: names before wildcards, the longest wildcard first, and routes of every host last."""
    hosts = {
        "all": "[]",
        "wide": '["*.example"]',
        "narrow": '["*.a.example"]',
        "exact": '["b.example", "a.example"]',
    }
    routes = "".join(
        f'[[route]]\nname = "{name}"\nprefix = "/{name}"\nhosts = {given}\nupstreams = ["http://127.0.0.1:1"]\n'
        for name, given in hosts.items()
    )
    file = tmp_path / "lockgate.toml"
    file.write_text(f'[accounts]\nservice = "all"\n{routes}')
    rows = called("routes", "check", "--config", file).stdout.splitlines()[1:]
    assert [row.split()[:3:2] for row in rows] == [
        ["a.example", "exact"],
        ["b.example", "exact"],
        ["*.a.example", "narrow"],
        ["*.example", "wide"],
        ["-", "all"],
    ]


@pytest.mark.parametrize(
    ("more", "variables", "said"),
    [
        ("", {"REDIS_URL": "redis://:hunter2#@h"}, "redis_url: @ : / ? # % in user and password are percent-coded"),
        ("", {"LOCKGATE_ACCOUNTS__SERVICE": "nobody"}, "accounts.service: no route leads to nobody"),
        (
            "",
            {"LOCKGATE_UPSTREAMS__ORDERS": "https://h:1", "LOCKGATE_UPSTREAM__CA_FILE": "/nowhere"},
            "upstream: ca_file or cert_file cannot be used",
        ),
        ("", {"LOCKGATE_SERVER__PROT": "1"}, "LOCKGATE_SERVER__PROT: there is no such setting"),
        ("[sever]\n", {}, "sever: there is no such setting"),
    ],
)
def test_what_a_start_would_refuse_is_refused_by_the_check(
    config: Path, more: str, variables: dict[str, str], said: str
) -> None:
    """R-218, R-214: exit code 2, and one line."""
    config.write_text(config.read_text() + more)
    result = called("routes", "check", "--config", config, **variables)
    assert_refused(result, said)


def test_the_check_says_that_a_redis_is_still_to_be_named(config: Path) -> None:
    result = called("routes", "check", "--config", config)
    assert result.returncode == 0
    assert result.stderr.startswith("redis_url is not set")


@pytest.mark.parametrize("arguments", [[], ["keys"], ["keys", "list"], ["routes", "check"], ["serve"], ["dev"]])
def test_help_is_had_by_either_spelling(arguments: list[str]) -> None:
    short, long = called(*arguments, "-h"), called(*arguments, "--help")
    assert (short.returncode, short.stdout) == (0, long.stdout)
    assert "-h, --help" in short.stdout


def test_the_version_is_that_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert called("--version").stdout == f"lockgate {version} ({SERVING})\n"


def test_a_command_named_version_leads_to_the_option() -> None:
    result = called("version")
    assert result.returncode == 2
    assert "Did you mean '--version'?" in result.stderr


@pytest.mark.parametrize("group", [[], ["keys"], ["routes"], ["users"], ["sessions"], ["tokens"], ["clients"]])
def test_the_list_of_commands_cuts_no_sentence_off(group: list[str]) -> None:
    _, commands = called(*group, "--help").stdout.split("Commands:\n")
    assert commands
    assert "..." not in commands


def test_keys_are_no_part_of_a_repository(config: Path, tmp_path: Path) -> None:
    called("keys", "init", "--config", config)
    ignored = tmp_path / "keys" / ".gitignore"
    assert ignored.read_text().splitlines()[-1] == "*"
    ignored.write_text("mine\n")
    called("keys", "init", "--config", config)
    assert ignored.read_text() == "mine\n"


def test_keys_are_made_once(config: Path, tmp_path: Path) -> None:
    first = called("keys", "init", "--config", config, "--link", "orders--products")
    made = {path.name for path in (tmp_path / "keys" / "links").iterdir() if path.suffix == ".json"}
    second = called("keys", "init", "--config", config, "--link", "orders--products")
    assert made == {"gateway--users.json", "gateway--orders.json", "gateway--products.json", "orders--products.json"}
    assert (first.returncode, second.returncode) == (0, 0)
    assert second.stdout == "nothing to do: every key is there\n"


@pytest.mark.parametrize("link", ["orders", "Orders--products", "orders--../products"])
def test_a_link_that_is_none_is_one_clear_line(link: str, config: Path) -> None:
    assert_refused(called("keys", "init", "--config", config, "--link", link), "link" if link == "orders" else "name")
    assert not (config.parent / "keys").exists(), "nothing is made"


def test_the_list_of_keys_shows_no_secret(config: Path, tmp_path: Path) -> None:
    called("keys", "init", "--config", config)
    result = called("keys", "list", "--config", config)
    link = json.loads((tmp_path / "keys" / "links" / "gateway--users.json").read_text())
    refresh = json.loads((tmp_path / "keys" / "refresh.json").read_text())
    assert "gateway -> users" in result.stdout
    assert "ES256  active" in result.stdout
    for key in [*link["keys"], *refresh["keys"]]:
        assert key["secret"] not in result.stdout


def test_the_list_of_keys_that_are_missing_is_one_clear_line(config: Path) -> None:
    assert_refused(called("keys", "list", "--config", config), "ring.json: cannot be read")


def test_a_port_that_is_free_again_after_a_failed_start(config: Path, tmp_path: Path) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    (tmp_path / "file").touch()
    for _ in range(2):
        result = lockgate("dev", "--config", config, "--port", port, "--data", tmp_path / "file" / "data")
        assert_refused(result, "cannot be written")
