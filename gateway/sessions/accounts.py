"""Asks the users service who somebody is. Passwords go through here and nowhere else."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from gateway.clock import Clock
from gateway.errors import AccountsUnavailableError
from trust import LinkKey, headers, signed_headers


@dataclass(frozen=True, slots=True)
class Account:
    """A user who may log in.

    Attributes:
        sub: the user's id.
        roles: what the user is.
        password: which password they have, as the users service calls it; another one after each change.
    """

    sub: str
    username: str
    roles: tuple[str, ...]
    password: str = ""


class Accounts:
    """The users service's internal calls, signed with the link key.

    Args:
        addresses: base URLs; one after the other is tried where the first cannot be reached.
        key: the link key to the service.
        timeout_s: for one call.
        clock: the time.
    """

    def __init__(self, addresses: Sequence[str], key: LinkKey, *, timeout_s: float, clock: Clock) -> None:
        self._addresses = tuple(addresses)
        self._key = key
        self._clock = clock
        self._client = httpx.AsyncClient(timeout=timeout_s, follow_redirects=False, trust_env=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def check_password(self, username: str, password: str, request_id: str) -> Account | None:
        """The account with this name and password, or `None`: wrong, unknown or blocked, without saying which.

        Raises:
            AccountsUnavailableError: the service did not give an answer.
        """
        answer = await self._call(
            "POST", "/internal/credentials/verify", request_id, {"username": username, "password": password}
        )
        if answer.status_code != httpx.codes.OK:
            raise AccountsUnavailableError(f"answered {answer.status_code}")
        content = _object(answer)
        return _account(content.get("account")) if content.get("valid") is True else None

    async def find(self, sub: str, request_id: str) -> Account | None:
        """The account of a user, or `None` where there is none that may log in.

        Raises:
            AccountsUnavailableError: the service did not give an answer.
        """
        answer = await self._call("GET", f"/internal/accounts/{quote(sub, safe='')}", request_id)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.status_code != httpx.codes.OK:
            raise AccountsUnavailableError(f"answered {answer.status_code}")
        content = _object(answer)
        return _account(content) if content.get("status") == "active" else None

    async def _call(
        self, method: str, path: str, request_id: str, content: dict[str, str] | None = None
    ) -> httpx.Response:
        body = b"" if content is None else json.dumps(content).encode("ascii")
        signed = signed_headers(
            self._key,
            method=method,
            path=path,
            headers=[(headers.REQUEST_ID, request_id)],
            body=body,
            now=self._clock.now(),
        )
        fields = [*signed, ("content-type", "application/json")] if body else signed
        fault: httpx.HTTPError | None = None
        for address in random.sample(self._addresses, len(self._addresses)):
            try:
                return await self._client.request(method, address + path, content=body, headers=fields)
            except httpx.ConnectError as error:
                fault = error
            except httpx.HTTPError as error:
                fault = error
                break
        raise AccountsUnavailableError(type(fault).__name__) from fault


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError as error:
        raise AccountsUnavailableError("answered something that is not JSON") from error
    if not isinstance(content, dict):
        raise AccountsUnavailableError("answered something that is not an object")
    return content


def _account(content: object) -> Account:
    try:
        return Account(
            sub=str(content["sub"]),  # type: ignore[index]  # not an object: an answer like any other malformed one
            username=str(content["username"]),  # type: ignore[index]  # as above
            roles=tuple(str(role) for role in content["roles"]),  # type: ignore[index]  # as above
            password=str(content["password_changed_at"]),  # type: ignore[index]  # as above
        )
    except (TypeError, KeyError) as error:
        raise AccountsUnavailableError("answered without an account") from error
