"""`lockgate tokens`: what a token says, and whether it would be let in."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import sys
from typing import TYPE_CHECKING, Any

from gateway.cli.operating import show
from gateway.clock import SystemClock
from gateway.errors import Refusal
from gateway.identity.bearer import format_gate
from gateway.identity.reload import live_keys
from gateway.identity.verifier import AccessTokenRules, Verifier
from gateway.sessions.refresh_token import RefreshTokens
from gateway.stores.layout import admission_keys
from gateway.stores.redis import connect, store_errors

if TYPE_CHECKING:
    from gateway.identity.keyring import KeyRing
    from gateway.identity.model import VerifiedClaims
    from gateway.settings import Settings


def inspect(settings: Settings, token: str, *, as_json: bool) -> None:
    """Say what is in a token, whether its signature is ours, and, where Redis is configured, whether it was revoked.

    Args:
        settings: name the keys, and Redis.
        token: or `-` for standard input, so that it does not stay in the shell's history.
        as_json: for programs.
    """
    text = sys.stdin.read().strip() if token == "-" else token  # noqa: S105 - not a password
    ring = live_keys(settings, SystemClock()).ring.value
    content = _refresh_token(ring, text) or asyncio.run(_access_token(settings, ring, text))
    lines = [f"{name:<9} {json.dumps(value)}" for name, value in content.items()]
    show(content, "\n".join(lines), as_json=as_json)


def _refresh_token(ring: KeyRing, text: str) -> dict[str, Any] | None:
    claim = RefreshTokens(ring.refresh_secrets).read(text)
    if claim is None:
        return None
    return {"kind": "refresh token", "sub": claim.sub, "sid": claim.sid, "generation": claim.generation}


async def _access_token(settings: Settings, ring: KeyRing, text: str) -> dict[str, Any]:
    rules = settings.token
    verifier = Verifier(
        ring,
        AccessTokenRules(rules.issuer, rules.audience, rules.leeway_s, rules.access_life_s),
        SystemClock(),
        cache_size=0,
        keys_of=admission_keys,
    )
    unverified = format_gate(text.encode("utf-8", "replace"))
    if isinstance(unverified, Refusal):
        return {"kind": "no token of ours", "verdict": unverified.note}
    outcome = verifier.verify(unverified)
    content = {"kind": "access token", "header": _part(text, 0), "claims": _part(text, 1)}
    if isinstance(outcome, Refusal):
        note = f": {outcome.note}" if outcome.note else ""
        return {**content, "verdict": f"{outcome.reason.name.lower()}{note}"}
    return {**content, "verdict": await _welcome(settings, outcome)}


async def _welcome(settings: Settings, claims: VerifiedClaims) -> str:
    if settings.redis_url is None:
        return "valid; whether it was revoked only Redis can tell, and redis_url is not set"
    redis = connect(settings.redis_url.get_secret_value())
    try:
        with store_errors():
            blocked, ended, epoch = await redis.mget(claims.question)
    finally:
        await redis.aclose()
    if blocked is not None:
        return "revoked"
    if ended is not None:
        return "its session has ended"
    return "its user was logged out everywhere" if claims.epoch < int(epoch or 0) else "valid"


def _part(text: str, index: int) -> object:
    """A part of a token, decoded; it may be anybody's, so nothing is said of it but what it says itself."""
    part = text.split(".")[index]
    try:
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return "not JSON"
