"""A service behind the gateway, with FastAPI.

The README beside it says how to start it.
"""

# ruff: noqa: INP001 - a file to copy, in no package

import os
from typing import Annotated

from fastapi import APIRouter, Body, Depends, FastAPI, Request

from lockgate_trust import Caller, IdentityMiddleware, LinkKeys, LiveLinkKeys, caller_of

notes = APIRouter()


def caller(request: Request) -> Caller:
    """The verified identity of the caller. `request.headers` may hold one that is not verified."""
    return caller_of(request.scope)


Who = Annotated[Caller, Depends(caller)]


@notes.get("/notes/{note}")
async def read(note: str, who: Who) -> dict[str, object]:
    """A note, and the user that reads it."""
    return {"note": note, "user": who.user_id, "roles": sorted(who.roles)}


@notes.post("/notes")
async def write(text: Annotated[str, Body(embed=True)], who: Who) -> dict[str, object]:
    """A note that the caller wrote."""
    return {"note": text, "user": who.user_id, "roles": sorted(who.roles)}


def create_app(keys: LinkKeys | None = None) -> FastAPI:
    """The service, with the keys of a test, or with those in the folder that LINK_KEYS names."""
    app = FastAPI()
    app.include_router(notes)
    # Added last, so that it is the outermost: without a valid signature no code of this application runs.
    app.add_middleware(IdentityMiddleware, keys=keys or LiveLinkKeys(os.environ["LINK_KEYS"], me="notes"))
    return app
