"""`/admin/users`: accounts, their roles and their sessions."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import JSONResponse

from lockgate.edge.responses import SECURITY_HEADERS
from lockgate.endpoints.dependencies import ADMIN, call_origin_of, identity_of
from lockgate.endpoints.problems import RefusedError, confirm_change
from lockgate.errors import Reason, Refusal
from lockgate.identity.model import Identity
from lockgate.judge import Judge
from lockgate.sessions.administration import Administration
from lockgate.views import account_json, session_json

_USER: Final = "/users/{user}"

Role = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,31}$")]


def build_router(operators: Administration, judge: Judge) -> APIRouter:
    """The calls; a user is named by id or name."""
    api = APIRouter()
    api.include_router(_build_account_calls(operators, judge))
    api.include_router(_build_role_calls(operators, judge))
    api.include_router(_build_session_calls(operators, judge))
    return api


def _build_account_calls(operators: Administration, judge: Judge) -> APIRouter:
    api = APIRouter(prefix=_USER)
    admin = Annotated[Identity, Depends(identity_of(judge, ADMIN))]
    named = Annotated[str, Depends(_sub_of(operators))]

    @api.get("")
    async def show(request: Request, asking: admin, user: str) -> Response:
        """An account, by its id or its name."""
        del asking
        found = await operators.find(user, call_origin_of(request))
        if found is None:
            raise RefusedError(Refusal(Reason.NOT_FOUND))
        return JSONResponse(account_json(found), headers=SECURITY_HEADERS)

    @api.post("/block", status_code=204)
    async def block(request: Request, asking: admin, sub: named) -> Response:
        """Shut a user out: from the next request on, on every node, open sockets included."""
        return confirm_change(found=await operators.block(sub, asking.sub, call_origin_of(request)))

    @api.post("/unblock", status_code=204)
    async def unblock(request: Request, asking: admin, sub: named) -> Response:
        """Let a user log in again."""
        return confirm_change(found=await operators.unblock(sub, asking.sub, call_origin_of(request)))

    return api


def _build_role_calls(operators: Administration, judge: Judge) -> APIRouter:
    api = APIRouter(prefix=f"{_USER}/roles/{{role}}")
    admin = Annotated[Identity, Depends(identity_of(judge, ADMIN))]
    named = Annotated[str, Depends(_sub_of(operators))]

    @api.put("")
    async def grant(request: Request, asking: admin, sub: named, role: Role) -> Response:
        """Give a user a role; tokens carry it from the next login or refresh on."""
        return _roles_json(sub, await operators.grant_role(sub, role, asking.sub, call_origin_of(request)))

    @api.delete("")
    async def revoke(request: Request, asking: admin, sub: named, role: Role) -> Response:
        """Take a role from a user, at once: every session and token of the user ends, and the user logs in again."""
        return _roles_json(sub, await operators.revoke_role(sub, role, asking.sub, call_origin_of(request)))

    return api


def _build_session_calls(operators: Administration, judge: Judge) -> APIRouter:
    api = APIRouter(prefix=f"{_USER}/sessions")
    admin = Annotated[Identity, Depends(identity_of(judge, ADMIN))]
    named = Annotated[str, Depends(_sub_of(operators))]

    @api.get("")
    async def sessions(asking: admin, sub: named) -> Response:
        """A user's live sessions."""
        del asking
        found = [session_json(view) for view in await operators.sessions(sub)]
        return JSONResponse({"sessions": found}, headers=SECURITY_HEADERS)

    @api.delete("", status_code=204)
    async def end_sessions(request: Request, asking: admin, sub: named) -> Response:
        """End every session and token of a user; the user can log in again."""
        await operators.end_sessions(sub, asking.sub, call_origin_of(request))
        return confirm_change(found=True)

    @api.delete("/{session_id}", status_code=204)
    async def end_session(request: Request, asking: admin, sub: named, session_id: str) -> Response:
        """End one session."""
        return confirm_change(found=await operators.end_session(sub, session_id, asking.sub, call_origin_of(request)))

    return api


def _sub_of(operators: Administration) -> Callable[[Request, str], Awaitable[str]]:
    """A dependency: the id of the user that the path names. It raises `RefusedError`: 404 where there is none."""

    async def find_sub(request: Request, user: str) -> str:
        found = await operators.sub_of(user, call_origin_of(request))
        if found is None:
            raise RefusedError(Refusal(Reason.NOT_FOUND))
        return found

    return find_sub


def _roles_json(sub: str, outcome: tuple[str, ...] | Refusal) -> Response:
    if isinstance(outcome, Refusal):
        raise RefusedError(outcome)
    return JSONResponse({"sub": sub, "roles": list(outcome)}, headers=SECURITY_HEADERS)
