"""The caller of a request, as endpoints receive it: a frozen `Caller`, never the request."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from lockgate_shop.kit.http.problems import RefusedError, refuse_request
from lockgate_shop.kit.problem import CREDENTIALS_REQUIRED, INSUFFICIENT_SCOPE
from lockgate_trust import Caller, caller_of


async def read_caller(request: Request) -> Caller:
    """The caller that the signature vouches for; its `user_id` is None for an anonymous request."""
    return caller_of(request.scope)


CallerDep = Annotated[Caller, Depends(read_caller)]


async def require_user(asking: CallerDep) -> str:
    """The id of the user that makes the request.

    Raises:
        RefusedError: the caller is anonymous.
    """
    if asking.user_id is None:
        refuse_request(CREDENTIALS_REQUIRED)
    return asking.user_id


UserId = Annotated[str, Depends(require_user)]


def require_scope(scope: str) -> Callable[[Caller], Awaitable[None]]:
    """A dependency that refuses a user without `scope` in the token."""

    async def check_scope(asking: CallerDep) -> None:
        await require_user(asking)
        if scope not in asking.scopes:
            raise RefusedError(INSUFFICIENT_SCOPE, note=f"needs {scope}")

    return check_scope
