"""A service behind the gateway, with FastAPI.

LINK_KEYS=keys/links python -m uvicorn --app-dir docs/examples --port 8104 --timeout-keep-alive 75 fastapi_service:app
"""

# ruff: noqa: INP001 - a file to copy, in no package

import os
from typing import Annotated

from fastapi import Body, Depends, FastAPI, Request

from lockgate_trust import Caller, IdentityMiddleware, LiveLinkKeys, caller_of

app = FastAPI()
# Added last, so that it is the outermost: without a valid signature no code of this application runs.
app.add_middleware(IdentityMiddleware, keys=LiveLinkKeys(os.environ["LINK_KEYS"], me="notes"))


def caller(request: Request) -> Caller:
    """The verified identity of the caller. `request.headers` may hold one that is not verified."""
    return caller_of(request.scope)


Who = Annotated[Caller, Depends(caller)]


@app.get("/notes/{note}")
async def read(note: str, who: Who) -> dict[str, object]:
    """A note, and the user that reads it."""
    return {"note": note, "user": who.user_id, "roles": sorted(who.roles)}


@app.post("/notes")
async def write(text: Annotated[str, Body(embed=True)], who: Who) -> dict[str, object]:
    """A note that the caller wrote."""
    return {"note": text, "user": who.user_id, "roles": sorted(who.roles)}
