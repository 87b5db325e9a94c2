"""What `pip install lockgate` brings, and that it works beside a project with packages of the same folder names."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lockgate import SERVING
from lockgate.cli.devstack.demo_services import NEEDS
from lockgate.compilation import PURE_VARIABLE
from lockgate_shop.users.demo import PASSWORD
from tests.habits.files import ROOT, project_files
from tests.support.redis_groups import free_ports
from tests.support.redis_server import running

PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAMES: Final = ("services", "gateway", "common", "keys")
"""Packages of a user's project, named like the folders here."""
BROUGHT: Final = {"fastapi": {"starlette"}, "redis": {"hiredis"}, "sqlalchemy": {"greenlet"}}
"""Packages that a requirement brings on purpose: by an extra, or as a part of what it is."""
BY_NAME: Final = {"aiosqlite", "asyncpg", "httptools", "uvloop"}
"""Loaded by name: a driver in an address of a database, a part of uvicorn."""


def required(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def imported(*folders: str) -> set[str]:
    """The distributions that the code of these folders imports."""
    owners = importlib.metadata.packages_distributions()
    found: set[str] = set()
    for file in [path for folder in folders for path in project_files(ROOT / folder) if path.suffix == ".py"]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                found.add(node.module)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                named = node.args[0] if node.func.attr == "import_module" and node.args else None
                if isinstance(named, ast.Constant):
                    found.add(str(named.value))
    tops = {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names)
    others = {name for name in tops if not name.startswith("lockgate")}
    return {canonicalize_name(owners[name][0]) for name in others if name in owners}


def test_the_gateway_requires_what_it_imports_and_nothing_else() -> None:
    wanted = required(PROJECT["dependencies"]) - {"lockgate-trust"}
    brought = set().union(*(BROUGHT.get(name, set()) for name in wanted))
    optional = {"opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"}
    assert imported("gateway", "common") - optional - brought == wanted - BY_NAME


def test_the_shop_requires_what_it_imports_beyond_the_gateway() -> None:
    gateway, shop = required(PROJECT["dependencies"]), required(PROJECT["optional-dependencies"]["shop"])
    brought = set().union(*(BROUGHT.get(name, set()) for name in gateway | shop))
    transitive = {"botocore", "coredis"}
    assert imported("services") - gateway - brought - transitive - BY_NAME == shop - BY_NAME


def test_dev_looks_for_every_package_of_the_extra_shop() -> None:
    """Otherwise it would start services that end at their first import."""
    owners = importlib.metadata.packages_distributions()
    looked_for = {canonicalize_name(owners[name][0]) for name in NEEDS}
    at_choice = {"asyncpg", "httptools"}  # a driver that demo data does without; a parser that uvicorn prefers
    assert looked_for == required(PROJECT["optional-dependencies"]["shop"]) - at_choice


def test_the_signature_package_requires_nothing() -> None:
    assert imported("trust") == set()
    assert tomllib.loads((ROOT / "trust" / "pyproject.toml").read_text())["project"]["dependencies"] == []


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Both distributions, built from a copy of the sources."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for name in ("gateway", "common", "services", "trust"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    options = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(built))
    # With compiled modules where they serve here; they are copied, because a compilation takes minutes.
    env = {**os.environ, PURE_VARIABLE: "" if SERVING.compiled else "1"}
    subprocess.run([sys.executable, "-m", "pip", *options, ".", "./trust"], cwd=source, env=env, check=True)  # noqa: S603
    return sorted(built.iterdir())


def installed(folder: Path, wheels: list[Path], *, without: tuple[str, ...] = ()) -> Path:
    """An environment with the wheels, a project's own packages, and what Lockgate requires; its `bin`."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)  # noqa: S603
    (packages,) = (folder / "lib").glob("python*/site-packages")
    bin_folder = folder / "bin"
    command = [sys.executable, "-m", "pip", "--python", str(bin_folder / "python"), "install", "--quiet"]
    subprocess.run([*command, "--no-deps", "--no-index", *map(str, wheels)], check=True)  # noqa: S603
    dependencies = folder / "dependencies"
    dependencies.mkdir()
    for entry in (Path(path) for path in sys.path if path.endswith("site-packages")):
        for one in entry.iterdir():
            if one.name.partition("-")[0].partition(".")[0] not in {*without, "lockgate", "lockgate_trust"}:
                target = dependencies / one.name
                if not target.exists():
                    target.symlink_to(one)
    (packages / "dependencies.pth").write_text(f"{dependencies}\n")
    for name in NAMES:
        (packages / name).mkdir()
        (packages / name / "__init__.py").write_text(f"PROJECT = {name!r}\n")
    return bin_folder


@pytest.fixture(scope="module")
def everything(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the shop and all that it requires."""
    return installed(tmp_path_factory.mktemp("everything") / "env", wheels)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder of a project that has packages of these names, and Lockgate's configuration."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in NAMES:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('the project was taken for Lockgate')\n")
    shutil.copy(ROOT / "lockgate.toml", folder)
    return folder


def started(program: Path, folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
    """A command of the environment, in the project's folder."""
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return subprocess.Popen(  # noqa: S603 - of the environment that the test made
        [program, *arguments],
        cwd=folder,
        env={**env, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.process
def test_a_wheel_says_which_modules_serve(wheels: list[Path], everything: Path, tmp_path: Path) -> None:
    """R-251: a wheel with compiled modules is one of this Python and this platform, any other is for all of them."""
    ran = subprocess.run(  # noqa: S603 - of the environment that the test made
        [everything / "lockgate", "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout == f"lockgate {PROJECT['version']} ({'compiled' if SERVING.compiled else 'pure Python'})\n"
    (tags,) = [wheel.stem.split("-")[2:] for wheel in wheels if wheel.name.startswith("lockgate-")]
    assert (tags == ["py3", "none", "any"]) is not SERVING.compiled


@pytest.mark.process
def test_serve_works_beside_packages_of_these_names(everything: Path, project: Path, tmp_path: Path) -> None:
    own = (
        "import services, gateway, common, keys; print(services.PROJECT, gateway.PROJECT, common.PROJECT, keys.PROJECT)"
    )
    ran = subprocess.run([everything / "python", "-c", own], cwd=tmp_path, capture_output=True, text=True, check=True)  # noqa: S603
    assert ran.stdout == "services gateway common keys\n"
    subprocess.run([everything / "lockgate", "keys", "init"], cwd=project, check=True, capture_output=True)  # noqa: S603
    (port,) = free_ports(1)
    with running(tmp_path / "redis") as redis:
        arguments = ("serve", "--port", str(port), "--workers", "2")
        serving = started(everything / "lockgate", project, *arguments, REDIS_URL=f"redis://{redis.place}")
        try:
            heard(serving, "ready")
            answer = httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False)
            assert (answer.status_code, answer.json()["status"]) == (200, "ready")
        finally:
            serving.terminate()
            serving.communicate()
    assert serving.returncode == 0


@pytest.mark.process
def test_the_whole_stack_runs_from_the_wheels(everything: Path, project: Path, tmp_path: Path) -> None:
    stack = started(everything / "lockgate", project, "dev", "--port", "0", "--data", str(tmp_path / "data"))
    try:
        address = address_of(stack)
        answer = httpx.post(f"{address}/auth/login", json={"username": "alice", "password": PASSWORD}, trust_env=False)
        bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        assert httpx.get(f"{address}/orders", headers=bearer, trust_env=False).status_code == 200
    finally:
        stack.terminate()
        stack.communicate()


@pytest.mark.process
def test_without_the_shop_dev_serves_ones_own_routes_and_says_so(
    wheels: list[Path], project: Path, tmp_path: Path
) -> None:
    bin_folder = installed(tmp_path / "env", wheels, without=NEEDS)
    (project / "notes").mkdir()
    (project / "notes" / "first.txt").write_text("remember")
    (port,) = free_ports(1)
    (project / "own.toml").write_text(
        '[accounts]\nservice = "notes"\n'
        '[[route]]\nname = "notes"\nprefix = "/notes"\nauth = "public"\nmethods = ["GET"]\n'
        f'upstreams = ["http://127.0.0.1:{port}"]\n'
    )
    server = ("-P", "-u", "-m", "http.server", "--protocol", "HTTP/1.1", "--bind", "127.0.0.1", str(port))
    upstream = started(bin_folder / "python", project, *server)
    data = ("--port", "0", "--data", str(tmp_path / "data"))
    stack = started(bin_folder / "lockgate", project, "dev", "--config", "own.toml", *data)
    try:
        heard(upstream, "Serving HTTP")
        heard(stack, "pip install 'lockgate[shop]'")
        assert httpx.get(f"{address_of(stack)}/notes/first.txt", trust_env=False).text == "remember"
    finally:
        for process in (stack, upstream):
            process.terminate()
            process.communicate()
    assert not (tmp_path / "data" / "objects").exists()


def heard(process: subprocess.Popen[bytes], text: str) -> str:
    """The first line that a process says with this text in it."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line.decode():
            return line.decode()
    raise AssertionError(f"it ended without a word of {text!r}")


def address_of(stack: subprocess.Popen[bytes]) -> str:
    """The address that `lockgate dev` names when it is ready."""
    (address,) = [word for word in heard(stack, "http://127.0.0.1:").split() if word.startswith("http://")]
    return address.rstrip("/")
