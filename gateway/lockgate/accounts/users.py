"""Asks the users service for accounts. Passwords go through here and nowhere else."""

from __future__ import annotations

import json
import random
import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

import httpx

from lockgate.accounts.call_limiter import CallLimiter
from lockgate.clock import Clock
from lockgate.errors import AccountsUnavailableError
from lockgate_trust import LinkKey, headers, signed_headers

T = TypeVar("T")

_NO_SUCH_CREDENTIALS: Final = frozenset({httpx.codes.BAD_REQUEST, httpx.codes.REQUEST_ENTITY_TOO_LARGE})
"""What the users service says of a name or password that no account can have. It counts as a wrong one: were it taken
for a service that is away, it would count as no attempt at all."""
PASSWORDS_AT_ONCE: Final = 16
"""Of one worker. A hash takes some 25 ms of a core: this keeps several cores busy, and yet the queue is here, where it
is bounded, and not at the users service, where other calls would wait in it too."""
LOOKUPS_AT_ONCE: Final = 16
MAX_WAITING: Final = 64
"""About what two hashing threads get through in a second: one more is refused at once, when it comes. In a longer queue
calls that came together would also give up together, and the event loop would answer all of them in one go."""
QUEUE_WAIT_S: Final = 2.0
KEEP_ALIVE_S: Final = 30
"""Less than the users service keeps an idle connection, so that it is this side that closes it."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user that may log in.

    Attributes:
        sub: the user's id.
        roles: what the user is.
        password_version: changes with the password; to compare, not to read.
    """

    sub: str
    username: str
    roles: tuple[str, ...]
    password_version: str


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """What an operator is told of an account.

    Attributes:
        status: `active` or `blocked`.
    """

    sub: str
    username: str
    roles: tuple[str, ...]
    status: str


class Unacceptable(NamedTuple):
    """The users service would not take the new value."""


class Accounts:
    """The users service's internal calls, signed with the link key.

    Calls with a password wait for their hash. They have a queue of their own, or a flood of logins would leave no turn
    to those that go on with a session.

    Args:
        addresses: base URLs; one after the other is tried where the first cannot be reached.
        key: the link key to the service that is in use.
        timeout_s: for one call.
        clock: the time.
        tls: for addresses that are https; without it no certificate is accepted.

    Attributes:
        timeout_s: for one call; no answer is older than that.
        trouble: what was wrong with the latest call; `None` where nothing was, and before the first.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        key: Callable[[], LinkKey],
        *,
        timeout_s: float,
        clock: Clock,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.timeout_s = timeout_s
        self._addresses = tuple(addresses)
        self._key = key
        self._clock = clock
        verify = tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # The queues bound it. Its own bound costs the event loop waiting requests times connections, again and again.
        limits = httpx.Limits(
            max_connections=None,
            max_keepalive_connections=PASSWORDS_AT_ONCE + LOOKUPS_AT_ONCE,
            keepalive_expiry=KEEP_ALIVE_S,
        )
        self._client = httpx.AsyncClient(
            timeout=timeout_s, limits=limits, follow_redirects=False, trust_env=False, verify=verify
        )
        limiter = partial(CallLimiter, waiting=MAX_WAITING, wait_s=QUEUE_WAIT_S, outcome_s=timeout_s)
        self._passwords, self._lookups = limiter(at_once=PASSWORDS_AT_ONCE), limiter(at_once=LOOKUPS_AT_ONCE)
        self.trouble: str | None = None

    def room_for_passwords(self) -> int:
        """How many more attempts at a password could come now."""
        return self._passwords.room

    async def close(self) -> None:
        """Give up what is under way, and close the connections."""
        await self._passwords.close()
        await self._lookups.close()
        await self._client.aclose()

    async def with_password(self, attempt: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The outcome of an attempt at a password, which is made when it is its turn, and to its end.

        Args:
            attempt: all that belongs to it; asks `check_password` or `change_password`, which do not wait themselves.

        Raises:
            AccountsUnavailableError: too many attempts are waiting, or there was no outcome in time.
        """
        try:
            return await self._passwords.run(attempt)
        except AccountsUnavailableError as error:
            self.trouble = str(error)
            raise

    async def check_password(self, username: str, password: str, request_id: str) -> Account | None:
        """The account with this name and password, or `None`: wrong, unknown or blocked, without saying which.

        Raises:
            AccountsUnavailableError: the service did not give an answer.
        """
        content = {"username": username, "password": password}
        answer = await self._call_service(None, "POST", "/internal/credentials/verify", request_id, content)
        if answer.status_code in _NO_SUCH_CREDENTIALS:
            return None
        if answer.status_code != httpx.codes.OK:
            raise AccountsUnavailableError(f"answered {answer.status_code}")
        outcome = _parse_object(answer)
        return _parse_account(outcome.get("account")) if outcome.get("valid") is True else None

    async def find(self, sub: str, request_id: str) -> Account | None:
        """The account of a user, or `None` where there is none that may log in.

        Raises:
            AccountsUnavailableError: the service did not give an answer.
        """
        answer = await self._call_service(self._lookups, "GET", f"/internal/accounts/{quote(sub, safe='')}", request_id)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.status_code != httpx.codes.OK:
            raise AccountsUnavailableError(f"answered {answer.status_code}")
        content = _parse_object(answer)
        return _parse_account(content) if content.get("status") == "active" else None

    async def change_password(self, sub: str, current: str, new: str, request_id: str) -> Account | Unacceptable | None:
        """Give a user another password: the account as it is then, or `None` where the current one is wrong.

        Raises:
            AccountsUnavailableError: the service did not give an answer; the password may have been changed.
        """
        content = {"sub": sub, "current_password": current, "new_password": new}
        answer = await self._call_service(None, "POST", "/internal/credentials/change", request_id, content)
        if answer.status_code == httpx.codes.BAD_REQUEST:
            return Unacceptable()
        if answer.status_code != httpx.codes.OK:
            raise AccountsUnavailableError(f"answered {answer.status_code}")
        outcome = _parse_object(answer)
        return _parse_account(outcome.get("account")) if outcome.get("valid") is True else None

    async def record(self, user: str, request_id: str) -> AccountRecord | None:
        """The account with this id or name, in any status; `None` where there is none.

        Raises:
            AccountsUnavailableError: the service did not give an answer.
        """
        answer = await self._call_service(
            self._lookups, "GET", f"/internal/accounts/{quote(user, safe='')}", request_id
        )
        if answer.status_code == httpx.codes.NOT_FOUND:
            content = {"username": user}
            answer = await self._call_service(self._lookups, "POST", "/internal/accounts/lookup", request_id, content)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.status_code != httpx.codes.OK:
            raise AccountsUnavailableError(f"answered {answer.status_code}")
        found = _parse_object(answer)
        account = _parse_account(found)
        return AccountRecord(account.sub, account.username, account.roles, str(found.get("status")))

    async def set_status(self, sub: str, status: str, request_id: str) -> bool:
        """Say whether a user may log in (`active` or `blocked`); whether there is such a user.

        Raises:
            AccountsUnavailableError: the service did not give an answer.
        """
        path = f"/internal/accounts/{quote(sub, safe='')}/status"
        answer = await self._call_service(self._lookups, "PUT", path, request_id, {"status": status})
        if answer.status_code not in (httpx.codes.OK, httpx.codes.NOT_FOUND):
            raise AccountsUnavailableError(f"answered {answer.status_code}")
        return answer.status_code == httpx.codes.OK

    async def set_roles(self, sub: str, roles: Sequence[str], request_id: str) -> bool | Unacceptable:
        """Say what a user is; whether there is such a user.

        Args:
            sub: the user.
            roles: all of them from now on, at least one.
            request_id: of the call.

        Returns:
            `Unacceptable` where the users service does not know one of the roles.

        Raises:
            AccountsUnavailableError: the service did not give an answer.
        """
        path = f"/internal/accounts/{quote(sub, safe='')}/roles"
        answer = await self._call_service(self._lookups, "PUT", path, request_id, {"roles": list(roles)})
        if answer.status_code == httpx.codes.BAD_REQUEST:
            return Unacceptable()
        if answer.status_code not in (httpx.codes.OK, httpx.codes.NOT_FOUND):
            raise AccountsUnavailableError(f"answered {answer.status_code}")
        return answer.status_code == httpx.codes.OK

    async def _call_service(
        self,
        limiter: CallLimiter | None,
        method: str,
        path: str,
        request_id: str,
        content: Mapping[str, str | list[str]] | None = None,
    ) -> httpx.Response:
        try:
            send = partial(self._send_signed, method, path, request_id, content)
            answer = await (limiter.run(send) if limiter is not None else send())
        except AccountsUnavailableError as error:
            self.trouble = str(error)
            raise
        failed = answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
        self.trouble = f"answered {answer.status_code}" if failed else None
        return answer

    async def _send_signed(
        self, method: str, path: str, request_id: str, content: Mapping[str, str | list[str]] | None
    ) -> httpx.Response:
        body = b"" if content is None else json.dumps(content).encode("ascii")
        signed = signed_headers(
            self._key(),
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


def _parse_object(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError as error:
        raise AccountsUnavailableError("answered something that is not JSON") from error
    if not isinstance(content, dict):
        raise AccountsUnavailableError("answered something that is not an object")
    return content


def _parse_account(content: object) -> Account:
    try:
        return Account(
            sub=str(content["sub"]),  # type: ignore[index]  # not an object: an answer like any other malformed one
            username=str(content["username"]),  # type: ignore[index]  # as above
            roles=tuple(str(role) for role in content["roles"]),  # type: ignore[index]  # as above
            password_version=str(content["password_changed_at"]),  # type: ignore[index]  # as above
        )
    except (TypeError, KeyError) as error:
        raise AccountsUnavailableError("answered without an account") from error
