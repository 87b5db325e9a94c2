"""Asks the users service for accounts. Passwords go through here and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

from lockgate.accounts.call_limiter import FULL, LATE, CallLimiter
from lockgate.errors import AccountsUnavailableError, Reason
from lockgate.upstream.client import UpstreamCall, UpstreamClient, UpstreamFailedError, UpstreamResponse
from lockgate_common.call_limiter import BoundedQueue, QueueFullError

T = TypeVar("T")

_NO_SUCH_CREDENTIALS: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})
"""What the users service says of a name or password that no account can have. It counts as a wrong one: were it taken
for a service that is away, it would count as no attempt at all."""
PASSWORDS_AT_ONCE: Final = 16
"""Of one worker. A hash takes some 25 ms of a core: this keeps several cores busy, and yet the queue is here, where it
is bounded, and not at the users service, where other calls would wait in it too."""
LOOKUPS_AT_ONCE: Final = 16
AT_ONCE: Final = PASSWORDS_AT_ONCE + LOOKUPS_AT_ONCE
MAX_WAITING: Final = 64
"""About what two hashing threads get through in a second: one more is refused at once, when it comes. In a longer queue
calls that came together would also give up together, and the event loop would answer all of them in one go."""
QUEUE_WAIT_S: Final = 2.0
_TROUBLES: Final = {
    Reason.UPSTREAM_REFUSED: "cannot be reached",
    Reason.UPSTREAM_TIMEOUT: LATE,
    Reason.UPSTREAM_BUSY: FULL,
    Reason.LINK_REFUSED: f"answered {HTTPStatus.UNAUTHORIZED}",
    Reason.DRAINING: "the gateway stops",
}
"""What operators are told of a call without a response; of any other reason, that the response is none."""
_NO_RESPONSE: Final = "broke off, or sent no valid response"


@dataclass(frozen=True, slots=True)
class Account:
    """A user that may log in.

    Attributes:
        sub: the user's id.
        roles: what the user is.
        password_version: changes with the password; to compare, not to read.
        email: the user's address; empty unless the users service says that it has verified the address.
    """

    sub: str
    username: str
    roles: tuple[str, ...]
    password_version: str
    email: str = ""


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
        client: calls the service, at most `AT_ONCE` times at a time.
        timeout_s: for one call.

    Attributes:
        timeout_s: for one call; no answer is older than that.
        trouble: what was wrong with the latest call; `None` where nothing was, and before the first.
    """

    def __init__(self, client: UpstreamClient, *, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._client = client
        self._passwords = CallLimiter(
            at_once=PASSWORDS_AT_ONCE, waiting=MAX_WAITING, wait_s=QUEUE_WAIT_S, outcome_s=timeout_s
        )
        self._lookups = BoundedQueue(at_once=LOOKUPS_AT_ONCE, waiting=MAX_WAITING, wait_s=QUEUE_WAIT_S)
        self.trouble: str | None = None

    def room_for_passwords(self) -> int:
        """How many more attempts at a password could come now."""
        return self._passwords.room

    async def close(self) -> None:
        """Give up what is under way, and close the connections."""
        await self._passwords.close()
        await self._client.close()

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
        # Repeatable: the gateway counts attempts, so both are one attempt, and a check changes no account.
        answer = await self._send(UpstreamCall("POST", "/internal/credentials/verify", request_id, _to_json(content)))
        if answer.status in _NO_SUCH_CREDENTIALS:
            return None
        if answer.status != HTTPStatus.OK:
            raise AccountsUnavailableError(f"answered {answer.status}")
        outcome = _parse_object(answer)
        return _parse_account(outcome.get("account")) if outcome.get("valid") is True else None

    async def find(self, sub: str, request_id: str) -> Account | None:
        """The account of a user, or `None` where there is none that may log in.

        Raises:
            AccountsUnavailableError: the service did not give an answer.
        """
        answer = await self._look_up(UpstreamCall("GET", _account_path(sub), request_id))
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if answer.status != HTTPStatus.OK:
            raise AccountsUnavailableError(f"answered {answer.status}")
        content = _parse_object(answer)
        return _parse_account(content) if content.get("status") == "active" else None

    async def change_password(self, sub: str, current: str, new: str, request_id: str) -> Account | Unacceptable | None:
        """Give a user another password: the account as it is then, or `None` where the current one is wrong.

        Raises:
            AccountsUnavailableError: the service did not give an answer; the password may have been changed.
        """
        content = {"sub": sub, "current_password": current, "new_password": new}
        # Not repeatable: where the first one took effect, the second one would find the current password wrong.
        answer = await self._send(
            UpstreamCall("POST", "/internal/credentials/change", request_id, _to_json(content), repeatable=False)
        )
        if answer.status == HTTPStatus.BAD_REQUEST:
            return Unacceptable()
        if answer.status != HTTPStatus.OK:
            raise AccountsUnavailableError(f"answered {answer.status}")
        outcome = _parse_object(answer)
        return _parse_account(outcome.get("account")) if outcome.get("valid") is True else None

    async def record(self, user: str, request_id: str) -> AccountRecord | None:
        """The account with this id or name, in any status; `None` where there is none.

        Raises:
            AccountsUnavailableError: the service did not give an answer.
        """
        answer = await self._look_up(UpstreamCall("GET", _account_path(user), request_id))
        if answer.status == HTTPStatus.NOT_FOUND:
            body = _to_json({"username": user})
            answer = await self._look_up(UpstreamCall("POST", "/internal/accounts/lookup", request_id, body))
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if answer.status != HTTPStatus.OK:
            raise AccountsUnavailableError(f"answered {answer.status}")
        found = _parse_object(answer)
        account = _parse_account(found)
        return AccountRecord(account.sub, account.username, account.roles, str(found.get("status")))

    async def set_status(self, sub: str, status: str, request_id: str) -> bool:
        """Say whether a user may log in (`active` or `blocked`); whether there is such a user.

        Raises:
            AccountsUnavailableError: the service did not give an answer.
        """
        body = _to_json({"status": status})
        answer = await self._look_up(UpstreamCall("PUT", f"{_account_path(sub)}/status", request_id, body))
        if answer.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            raise AccountsUnavailableError(f"answered {answer.status}")
        return answer.status == HTTPStatus.OK

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
        body = _to_json({"roles": list(roles)})
        answer = await self._look_up(UpstreamCall("PUT", f"{_account_path(sub)}/roles", request_id, body))
        if answer.status == HTTPStatus.BAD_REQUEST:
            return Unacceptable()
        if answer.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            raise AccountsUnavailableError(f"answered {answer.status}")
        return answer.status == HTTPStatus.OK

    async def _look_up(self, call: UpstreamCall) -> UpstreamResponse:
        """The response to a call without a password. Its turn belongs to the call, and not to a caller that may go."""
        try:
            await self._lookups.take()
        except QueueFullError:
            self.trouble = FULL
            raise AccountsUnavailableError(FULL) from None
        return await self._send(call, self._lookups.give_back)

    async def _send(self, call: UpstreamCall, on_end: Callable[[], object] | None = None) -> UpstreamResponse:
        try:
            answer = await self._client.send(call, timeout_s=self.timeout_s, on_end=on_end)
        except UpstreamFailedError as error:
            self.trouble = _TROUBLES.get(error.reason, _NO_RESPONSE)
            raise AccountsUnavailableError(self.trouble) from error
        failed = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        self.trouble = f"answered {answer.status}" if failed else None
        return answer


def _account_path(user: str) -> str:
    return f"/internal/accounts/{quote(user, safe='')}"


def _to_json(content: Mapping[str, str | list[str]]) -> bytes:
    return json.dumps(content).encode("ascii")


def _parse_object(answer: UpstreamResponse) -> dict[str, Any]:
    try:
        content = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
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
            email=_verified_email(content),  # type: ignore[arg-type]  # as above
        )
    except (TypeError, KeyError) as error:
        raise AccountsUnavailableError("answered without an account") from error


def _verified_email(content: Mapping[str, object]) -> str:
    """An address that the user has merely claimed could be any other user's."""
    email = content.get("email") if content.get("email_verified") is True else None
    return email if isinstance(email, str) else ""
