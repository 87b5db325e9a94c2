"""Starts the four applications on the ports that `lockgate.toml` names, and ends them at Ctrl-C."""

# ruff: noqa: INP001, T201 - a program to copy, in no package

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent


def read_ports() -> dict[str, str]:
    """The port of each route's service."""
    routes = tomllib.loads((HERE / "lockgate.toml").read_text())["route"]
    return {route["name"]: route["upstreams"][0].rpartition(":")[2] for route in routes}


def commands(ports: dict[str, str]) -> list[list[str]]:
    """A command for each application. All of them listen on this machine alone."""
    # A service keeps an idle connection for longer than the gateway does, so that the gateway closes first.
    asgi = ["uvicorn", "--no-access-log", "--timeout-keep-alive", "75", "--factory"]
    return [
        ["http.server", "--bind", "127.0.0.1", "--directory", str(HERE / "front"), ports["front"]],
        ["wiki", ports["wiki"]],
        [*asgi, "--port", ports["api"], "api:create_app"],
        [*asgi, "--port", ports["live"], "--ws", "websockets-sansio", "live:create_app"],
    ]


def wait_for(ports: Iterable[str]) -> None:
    """Return when each port takes connections."""
    for port in ports:
        # A service that has not started within ten seconds has said why.
        for _ in range(100):
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", int(port))):
                break
            time.sleep(0.1)
        else:
            sys.exit(f"nothing listens on port {port}")


def main() -> None:
    """Run until one of the applications ends, or until Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    env = {"LINK_KEYS": str(HERE / "keys" / "links"), **os.environ, "PYTHONPATH": str(HERE), "PYTHONUNBUFFERED": "1"}
    ports = read_ports()
    running = [
        subprocess.Popen([sys.executable, "-m", *command], env=env)  # noqa: S603 - the commands above
        for command in commands(ports)
    ]
    try:
        wait_for(ports.values())
        print("The four applications run, behind https://app.localhost:8443/; Ctrl-C ends them", flush=True)
        os.wait()
    except KeyboardInterrupt:
        pass
    finally:
        for process in running:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
