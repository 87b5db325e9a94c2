"""An API that verifies each request, and knows nothing of the prefix below which clients see it."""

# ruff: noqa: INP001 - a file to copy, in no package

import os
from collections import defaultdict
from typing import Annotated

from fastapi import Body, Depends, FastAPI, Request

from lockgate_trust import Caller, IdentityMiddleware, LinkKeys, LiveLinkKeys, caller_of


def caller(request: Request) -> Caller:
    """The verified identity of the caller."""
    return caller_of(request.scope)


Who = Annotated[Caller, Depends(caller)]


def create_app(keys: LinkKeys | None = None) -> FastAPI:
    """The service, with the keys of a test, or with those in the folder that LINK_KEYS names."""
    app, notes = FastAPI(), defaultdict[str | None, list[str]](list)

    @app.get("/notes")
    async def read(request: Request, who: Who) -> dict[str, object]:
        return {"path": request.url.path, "user": who.user_id, "notes": notes[who.user_id]}

    @app.post("/notes", status_code=201)
    async def write(text: Annotated[str, Body(embed=True)], who: Who) -> dict[str, object]:
        notes[who.user_id].append(text)
        return {"notes": notes[who.user_id]}

    app.add_middleware(IdentityMiddleware, keys=keys or LiveLinkKeys(os.environ["LINK_KEYS"], me="api"))
    return app
