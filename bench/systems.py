"""The compared systems: what each checks, how it is started, and how a request proves its user."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Final

from bench import lockgate, tokens
from bench.lockgate import Setup
from bench.machine import Command, Running, free_port, started
from bench.site import PEERS, Site, get, wait_for_response
from bench.trees import Grove, Tree

VENV: Final = PEERS / "venv" / "bin"
NODE_MODULES: Final = PEERS / "node" / "node_modules"
REFUSALS: Final = frozenset({401, 403})
_LOG_TAIL: Final = 2000
_ROUTES_S: Final = 5
_PAUSE_S: Final = 0.1

Commands = Callable[[Site, int], list[Command]]


class Credential(Enum):
    """The tokens that a system accepts."""

    NONE = "none"
    RS256 = "RS256"
    HS256 = "HS256"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class System:
    """One row of the table.

    Attributes:
        does: its work for a request besides forwarding.
        commands: its processes for a port, each ready before the next is started.
        credential: the tokens that it accepts.
        missing: returns the program that is not installed; `None` where none is missing.
    """

    name: str
    label: str
    does: str
    commands: Commands
    credential: Credential
    missing: Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Deployed:
    """A running system."""

    system: System
    port: int
    processes: tuple[Running, ...]

    @property
    def pids(self) -> list[int]:
        """All of its processes."""
        return [pid for process in self.processes for pid in process.pids]

    def cpu_s(self) -> float:
        """Processor time of all of its processes so far, in seconds."""
        return sum(process.cpu_s() for process in self.processes)

    def memory(self) -> int:
        """Proportional set size of all of its processes, in bytes."""
        return sum(process.memory() for process in self.processes)


def deploy(system: System, site: Site, stack: ExitStack) -> Deployed:
    """Start a system on the gateway's core until the stack closes.

    Raises:
        RuntimeError: it did not start.
    """
    port = free_port()
    log = site.folder / f"{system.name}.log"
    processes = []
    try:
        for command in system.commands(site, port):
            process = stack.enter_context(started(command, site.cores.gateway, log))
            wait_for_response(process, system.name, command.port or port)
            processes.append(process)
    except RuntimeError as error:
        raise RuntimeError(f"{error}\n{log.read_text()[-_LOG_TAIL:]}") from None
    return Deployed(system, port, tuple(processes))


def check(deployed: Deployed, token: str) -> None:
    """Check that a system lets a good token in, and refuses a spoilt token and no token, as its row says.

    Raises:
        RuntimeError: it does not.
    """
    name = deployed.system.name
    # The last character but a few: spare low bits of the very last one may say nothing.
    spoilt = token[:-8] + ("A" if token[-8] != "A" else "B") + token[-7:]
    good = get(deployed.port, token=token)[0]
    end = time.monotonic() + _ROUTES_S
    while good == 404 and time.monotonic() < end:  # noqa: PLR2004 - it listens before it has read its routes
        time.sleep(_PAUSE_S)
        good = get(deployed.port, token=token)[0]
    if good != 200:  # noqa: PLR2004 - the service's only answer
        raise RuntimeError(f"{name} answers {good} to a good token")
    if deployed.system.credential is Credential.NONE:
        return
    for what, bad in (("a spoilt token", spoilt), ("no token", None)):
        status = get(deployed.port, token=bad)[0]
        if status not in REFUSALS:
            raise RuntimeError(f"{name} answers {status} to {what}")


def nginx(site: Site, port: int, *, routes: int = 1) -> list[Command]:
    """Reverse proxy that authenticates no client.

    Args:
        site: the common ground.
        port: where it listens.
        routes: how many locations it has: `/orders`, and `/r0001`, `/r0002`, …
    """
    prefixes = ["/orders", *(f"/r{number:04}" for number in range(1, routes))]
    locations = "\n".join(f"        location {prefix} {{ proxy_pass http://service; }}" for prefix in prefixes)
    return [_nginx(site.fill("nginx.conf", port, LOCATIONS=locations))]


def _auth_request(site: Site, port: int) -> list[Command]:
    # The authentication service is HAProxy that verifies RS256 and answers by itself: nothing at hand is faster at it.
    auth = free_port()
    service = _haproxy(site, auth, algorithm="RS256", key=str(site.peers.public_pem), answers=True)
    locations = f"""
        location / {{
            auth_request /_auth;
            auth_request_set $user $upstream_http_x_user_id;
            proxy_set_header X-User-Id $user;
            proxy_set_header Authorization "";
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_pass http://service;
        }}
        location = /_auth {{
            internal;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header Connection "";
            proxy_pass http://auth;
        }}
    }}
    upstream auth {{ server 127.0.0.1:{auth}; keepalive 256; keepalive_requests 1000000000; }}
    server {{ listen unix:{site.folder}/unused.sock;"""
    return [service, _nginx(site.fill("nginx.conf", port, LOCATIONS=locations))]


def _haproxy_rs256(site: Site, port: int) -> list[Command]:
    return [_haproxy(site, port, algorithm="RS256", key=str(site.peers.public_pem))]


def _haproxy_hs256(site: Site, port: int) -> list[Command]:
    return [_haproxy(site, port, algorithm="HS256", key=site.peers.secret)]


def _haproxy(site: Site, port: int, *, algorithm: str, key: str, answers: bool = False) -> Command:
    if answers:
        then = "http-request return status 200 hdr X-User-Id %[var(txn.sub)]"
        backend = ""
    else:
        then = "default_backend service"
        backend = f"backend service\n    server one 127.0.0.1:{site.service_port}\n"
    file = site.fill("haproxy.cfg", port, ALG=algorithm, KEY=key, THEN=then, BACKEND=backend)
    return Command(["haproxy", "-db", "-f", str(file)], port=port)


def _envoy(site: Site, port: int) -> list[Command]:
    # fmt: off
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error",
               "--config-path", str(site.fill("envoy.yaml", port))]
    # fmt: on
    return [Command([str(_envoy_program()), *options])]


def _envoy_program() -> Path:
    return next(iter((PEERS / "venv" / "lib").glob("python3*/site-packages/envoy/_bin/envoy")), VENV / "envoy")


def _caddy(site: Site, port: int) -> list[Command]:
    key = site.peers.public_pem.read_text()
    file = site.fill("Caddyfile", port, PUBLIC_KEY=key)
    argv = [str(VENV / "caddy"), "run", "--adapter", "caddyfile", "--config", str(file)]
    return [Command(argv, env={"GOMAXPROCS": "1", "HOME": str(site.folder)})]


def _traefik(site: Site, port: int, *, auth: int | None = None) -> list[Command]:
    middlewares = "" if auth is None else "ask, no-token"
    file = site.fill("traefik.yaml", port, AUTH=auth or port, MIDDLEWARES=middlewares)
    # fmt: off
    options = [f"--entryPoints.edge.address=127.0.0.1:{port}", f"--providers.file.filename={file}",
               "--log.level=ERROR", "--global.checkNewVersion=false", "--global.sendAnonymousUsage=false"]
    # fmt: on
    return [Command([str(VENV / "traefik"), *options], env={"GOMAXPROCS": "1"}, folder=site.folder)]


def _traefik_forward_auth(site: Site, port: int) -> list[Command]:
    # The same authentication service as nginx's, on the same core.
    auth = free_port()
    service = _haproxy(site, auth, algorithm="RS256", key=str(site.peers.public_pem), answers=True)
    return [service, *_traefik(site, port, auth=auth)]


def _fastify(site: Site, port: int) -> list[Command]:
    # ES modules are found beside the importing file, not through NODE_PATH.
    modules = site.folder / "node_modules"
    if not modules.exists():
        modules.symlink_to(NODE_MODULES)
    return [Command(["node", str(site.fill("fastify.mjs", port))], env={"NODE_ENV": "production"})]


def _naive(site: Site, port: int) -> list[Command]:
    env = {
        "SERVICE_URL": f"http://127.0.0.1:{site.service_port}",
        "PUBLIC_PEM": str(site.peers.public_pem),
        "REDIS_URL": site.redis_url,
        "ISSUER": tokens.ISSUER,
        "AUDIENCE": tokens.AUDIENCE,
    }
    argv = [
        str(VENV / "uvicorn"),
        "naive_gateway:app",
        "--port",
        str(port),
        "--no-access-log",
        "--log-level",
        "warning",
    ]
    return [Command(argv, env=env, folder=Path(__file__).parent / "peers")]


def _relay(site: Site, port: int) -> list[Command]:
    program = Path(__file__).parent / "peers" / "relay.py"
    return [Command([sys.executable, str(program), str(port), str(site.service_port)])]


def _relay_that_asks(site: Site, port: int) -> list[Command]:
    (relay,) = _relay(site, port)
    return [replace(relay, env={"REDIS_SOCKET": str(site.redis)})]


def lockgate_of(tree: Tree, *, label: str = "", access_log: bool = False, workers: int = 1) -> System:
    """A tree of Lockgate with everything on, as a system to measure."""
    does = "verify, live revocation in Redis, rate limit, signed identity, metrics"
    if access_log:
        does = "the same, and a JSON line for each request, into a file"
    setup = Setup(tree, workers=workers, access_log=access_log)
    name = tree.name + "-log" * access_log + f"-{workers}" * (workers > 1)
    shown = label or f"**{tree.label}**" + ", access log on" * access_log
    return System(name, shown, does, partial(lockgate.commands, setup=setup), Credential.OWN, lambda: None)


def compared(grove: Grove) -> list[System]:
    """All rows of the table."""
    own = [lockgate_of(tree) for tree in grove.all if tree is not grove.before]
    return [NGINX, *own, lockgate_of(grove.now, access_log=True), *_PEERS]


def _nginx(configuration: Path) -> Command:
    return Command(["nginx", "-c", str(configuration)])


def _program(name: str) -> Callable[[], str | None]:
    return lambda: None if shutil.which(name) else f"{name} is not installed"


def _file(path: Callable[[], Path]) -> Callable[[], str | None]:
    return lambda: None if os.access(path(), os.R_OK) else f"{path().name} is not installed"


def _both(*checks: Callable[[], str | None]) -> Callable[[], str | None]:
    return lambda: next((missing for check in checks if (missing := check())), None)


NGINX: Final = System("nginx", "nginx, plain", "nothing: the reference", nginx, Credential.NONE, _program("nginx"))
"""The reference: shares are of its rate."""
_PEERS: Final = (
    System(
        "haproxy-hs256",
        "HAProxy `jwt_verify`, HS256",
        "verify",
        _haproxy_hs256,
        Credential.HS256,
        _program("haproxy"),
    ),
    System(
        "haproxy-rs256",
        "HAProxy `jwt_verify`, RS256",
        "verify",
        _haproxy_rs256,
        Credential.RS256,
        _program("haproxy"),
    ),
    System(
        "nginx-auth",
        "nginx `auth_request`, HAProxy answers it",
        "verify (RS256)",
        _auth_request,
        Credential.RS256,
        _both(_program("nginx"), _program("haproxy")),
    ),
    System(
        "traefik", "Traefik, plain", "nothing, as nginx", _traefik, Credential.NONE, _file(lambda: VENV / "traefik")
    ),
    System(
        "traefik-auth",
        "Traefik `forwardAuth`, HAProxy answers it",
        "verify (RS256)",
        _traefik_forward_auth,
        Credential.RS256,
        _both(_file(lambda: VENV / "traefik"), _program("haproxy")),
    ),
    System("envoy", "Envoy `jwt_authn`", "verify (RS256, cached)", _envoy, Credential.RS256, _file(_envoy_program)),
    System("caddy", "Caddy, caddy-jwt", "verify (RS256)", _caddy, Credential.RS256, _file(lambda: VENV / "caddy")),
    System(
        "fastify",
        "Fastify, http-proxy, jwt",
        "verify (RS256, cached)",
        _fastify,
        Credential.RS256,
        _both(_program("node"), _file(lambda: NODE_MODULES / "fastify")),
    ),
    System(
        "naive",
        "FastAPI, httpx, PyJWT, redis-py as commonly written",
        "verify (RS256), live revocation in Redis",
        _naive,
        Credential.RS256,
        _file(lambda: VENV / "uvicorn"),
    ),
    System(
        "relay",
        "*floor: uvloop callbacks that relay bytes*",
        "nothing: what is left of Lockgate without Lockgate",
        _relay,
        Credential.NONE,
        lambda: None,
    ),
    System(
        "relay-redis",
        "*floor, asking Redis once a tick*",
        "nothing, but puts Lockgate's question to Redis",
        _relay_that_asks,
        Credential.NONE,
        lambda: None,
    ),
)
