"""A gateway as it is commonly written with FastAPI, httpx, PyJWT and redis-py."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import jwt
import redis.asyncio as redis
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

SERVICES = {"orders": os.environ["SERVICE_URL"]}
PUBLIC_KEY = Path(os.environ["PUBLIC_PEM"]).read_text()
HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}

bearer = HTTPBearer()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One HTTP client and one Redis client for the life of the process."""
    app.state.redis = redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
    async with httpx.AsyncClient(timeout=10) as app.state.client:
        yield
    await app.state.redis.aclose()


app = FastAPI(lifespan=lifespan)


async def current_user(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]
) -> dict[str, Any]:
    """The claims of a token that is valid and not on the blocklist."""
    try:
        claims: dict[str, Any] = jwt.decode(
            credentials.credentials,
            PUBLIC_KEY,
            algorithms=["RS256"],
            issuer=os.environ["ISSUER"],
            audience=os.environ["AUDIENCE"],
        )
    except jwt.InvalidTokenError as error:
        raise HTTPException(401, "invalid token") from error
    if await request.app.state.redis.exists(f"blocklist:{claims['jti']}"):
        raise HTTPException(401, "token revoked")
    return claims


@app.api_route("/{service}/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def forward(
    service: str, path: str, request: Request, user: Annotated[dict[str, Any], Depends(current_user)]
) -> Response:
    """Send the request on with the user's id in a header."""
    if service not in SERVICES:
        raise HTTPException(404)
    headers = {name: value for name, value in request.headers.items() if name not in {*HOP_BY_HOP, "authorization"}}
    headers["X-User-Id"] = user["sub"]
    answer = await request.app.state.client.request(
        request.method,
        f"{SERVICES[service]}/{service}/{path}",
        params=request.query_params,
        headers=headers,
        content=await request.body(),
    )
    kept = {name: value for name, value in answer.headers.items() if name not in HOP_BY_HOP}
    return Response(answer.content, answer.status_code, kept)
