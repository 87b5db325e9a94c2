"""Real clients that POST, each in its own program or library, with its defaults."""

from __future__ import annotations

import asyncio
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import httpx
import pytest
import requests

from tests.support.node import ROOT

HERE: Final = Path(__file__).parent
NODE_MODULES: Final = ROOT / ".venv" / "node" / "node_modules"
PATIENCE_S: Final = 200
"""For one program, with all its repetitions."""
JSON: Final = {"Content-Type": "application/json"}

Post = Callable[[str, bytes, int, str | None], Awaitable[list[str]]]
"""URL, body, how often, and the value of `Authorization` → status and body of each response, or the error."""


def node(kind: str) -> Post:
    """node's `fetch`, or axios."""

    async def post(url: str, body: bytes, count: int, authorization: str | None = None) -> list[str]:
        if not (NODE_MODULES / "axios").exists():
            pytest.skip("axios is not installed")
        return await _run(body, authorization, _found("node"), str(HERE / "client.mjs"), kind, url, str(count))

    return post


async def java(url: str, body: bytes, count: int, authorization: str | None = None) -> list[str]:
    """`java.net.http.HttpClient`, which asks for HTTP/2 with each request on a new connection."""
    return await _run(body, authorization, _found("java"), str(HERE / "Client.java"), url, str(count))


def curl(*options: str) -> Post:
    async def post(url: str, body: bytes, count: int, authorization: str | None = None) -> list[str]:
        fields = ["--header", f"Authorization: {authorization}"] if authorization else []
        asked = ["--silent", "--show-error", *options, "--header", "Content-Type: application/json", *fields]
        argv = [_found("curl"), *asked, "--data-binary", "@-", "--write-out", "\n%{http_code}", url]
        said: list[str] = []
        for _ in range(count):
            *content, status = await _run(body, None, *argv) or [""]
            said.append(f"{status} {''.join(content)}")
        return said

    return post


def library(send: Callable[[str, bytes, dict[str, str]], str]) -> Post:
    async def post(url: str, body: bytes, count: int, authorization: str | None = None) -> list[str]:
        headers = JSON | ({"Authorization": authorization} if authorization else {})
        return [await asyncio.to_thread(send, url, body, headers) for _ in range(count)]

    return post


def _by_urllib(url: str, body: bytes, headers: dict[str, str]) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, body, headers), timeout=PATIENCE_S) as response:  # noqa: S310 - http
            return f"{response.status} {response.read().decode()}"
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.read().decode()}"
    except OSError as error:
        return repr(error)


def _by_requests(url: str, body: bytes, headers: dict[str, str]) -> str:
    with requests.Session() as session:
        session.trust_env = False
        try:
            response = session.post(url, data=body, headers=headers, timeout=PATIENCE_S)
        except requests.RequestException as error:
            return repr(error)
        return f"{response.status_code} {response.text}"


def _by_httpx(url: str, body: bytes, headers: dict[str, str]) -> str:
    try:
        response = httpx.post(url, content=body, headers=headers, timeout=PATIENCE_S, trust_env=False)
    except httpx.HTTPError as error:
        return repr(error)
    return f"{response.status_code} {response.text}"


CLIENTS: Final[dict[str, Post]] = {
    "node fetch": node("fetch"),
    "axios": node("axios"),
    "java": java,
    "curl": curl(),
    "curl without Expect": curl("--header", "Expect:"),
    "curl --http2": curl("--http2"),
    "urllib": library(_by_urllib),
    "requests": library(_by_requests),
    "httpx": library(_by_httpx),
}


def statuses(said: list[str]) -> list[str]:
    """The first word of each line: a status, or the name of an error."""
    return [line.split(" ")[0] for line in said]


def _found(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


async def _run(body: bytes, authorization: str | None, *argv: str) -> list[str]:
    """The lines that a program says; standard error where it says none."""
    inherited = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    env = {**inherited, "NODE_PATH": str(NODE_MODULES), **({"AUTHORIZATION": authorization} if authorization else {})}
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(*argv, env=env, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, errors = await program.communicate(body)
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    return (out or errors).decode().splitlines()
