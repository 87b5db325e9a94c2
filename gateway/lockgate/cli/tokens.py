"""`lockgate tokens`: the claims of a token, and whether the gateway accepts it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import sys
from typing import TYPE_CHECKING, Any, Final, cast

import typer

from lockgate.admission.gate import check_revocation
from lockgate.cli.operating import show_result
from lockgate.clock import SystemClock
from lockgate.errors import Reason, Refusal, StoreUnavailableError
from lockgate.identity.bearer import format_gate
from lockgate.identity.marks import SharedMarks
from lockgate.identity.verifier import AccessTokenRules, Verifier
from lockgate.keys.current import Current
from lockgate.keys.files import join_readers
from lockgate.keys.reload import ring_source
from lockgate.sessions.refresh_token import RefreshTokens
from lockgate.sessions.session_store import SessionStore
from lockgate.stores.layout import admission_keys
from lockgate.stores.redis import connect, store_errors

if TYPE_CHECKING:
    from lockgate.identity.model import VerifiedClaims
    from lockgate.keys.keyring import KeyRing
    from lockgate.sessions.refresh_token import RefreshClaim
    from lockgate.settings import Settings

VALID: Final = "valid"
UNKNOWN: Final = "signed by us; whether it was revoked only Redis can tell, and redis_url is not set"
UNREACHABLE: Final = "signed by us; whether it was revoked only Redis can tell, and it did not answer"
_VERDICTS: Final = {
    Reason.TOKEN_REVOKED: "revoked",
    Reason.SESSION_ENDED: "its session has ended",
    Reason.EPOCH_RAISED: "its user was logged out everywhere, blocked, or lost a role",
    Reason.STORE_AWAY: "signed by us; what Redis holds of its user is not a counter",
}


def inspect_token(settings: Settings, token: str, *, as_json: bool) -> None:
    """Show the claims of a token, whether its signature is ours, and, with Redis, whether it was revoked.

    A `token` of `-` is read from standard input, so that it does not stay in the history of the shell.

    Raises:
        typer.Exit: with code 1; a gateway would refuse the token, or the stores are away.
    """
    text = sys.stdin.read().strip() if token == "-" else token  # noqa: S105 - not a password
    join_readers(settings.keys.directory)
    ring = ring_source(settings.keys.directory).read()
    claim = RefreshTokens(lambda: ring.refresh_secrets).read(text)
    told = _refresh_token(settings, claim) if claim is not None else _access_token(settings, ring, text)
    content = asyncio.run(told)
    lines = [f"{name:<10} {json.dumps(value)}" for name, value in content.items()]
    show_result(content, "\n".join(lines), as_json=as_json)
    if content["verdict"] != VALID:
        raise typer.Exit(1)


async def _refresh_token(settings: Settings, claim: RefreshClaim) -> dict[str, Any]:
    content = {"kind": "refresh token", "sub": claim.sub, "sid": claim.sid, "generation": claim.generation}
    if settings.redis_url is None:
        return {**content, "verdict": UNKNOWN}
    redis = connect(settings.redis_url.get_secret_value())
    try:
        current = await SessionStore(redis, settings.token, SystemClock()).current(claim)
    except StoreUnavailableError as error:
        return {**content, "verdict": f"{UNREACHABLE} ({error})"}
    finally:
        await redis.aclose()
    return {**content, "verdict": VALID if current else "used up, or its session is over"}


async def _access_token(settings: Settings, ring: KeyRing, text: str) -> dict[str, Any]:
    rules = settings.token
    verifier = Verifier(
        Current(ring),
        AccessTokenRules(rules.issuer, rules.audience, rules.leeway_s, rules.access_life_s),
        SystemClock(),
        marks=SharedMarks(),
        cache_size=0,
        keys_of=admission_keys,
    )
    unverified = format_gate(text.encode("utf-8", "replace"))
    if isinstance(unverified, Refusal):
        return {"kind": "no token of ours", "verdict": unverified.note}
    outcome = verifier.verify(unverified)
    content = {"kind": "access token", "header": _decode_part(text, 0), "claims": _decode_part(text, 1)}
    if isinstance(outcome, Refusal):
        note = f": {outcome.note}" if outcome.note else ""
        return {**content, "verdict": f"{outcome.reason.name.lower()}{note}"}
    return {**content, "verdict": await _ask_store(settings, outcome)}


async def _ask_store(settings: Settings, claims: VerifiedClaims) -> str:
    if settings.redis_url is None:
        return UNKNOWN
    redis = connect(settings.redis_url.get_secret_value())
    try:
        with store_errors():
            blocked, ended, epoch = cast("list[bytes | None]", await redis.mget(claims.question.names))
    except StoreUnavailableError as error:
        return f"{UNREACHABLE} ({error})"
    finally:
        await redis.aclose()
    refusal = check_revocation(claims, blocked, ended, epoch)
    return _VERDICTS[refusal.reason] if refusal else VALID


def _decode_part(text: str, index: int) -> object:
    """A part of a token, decoded; the token may be of any issuer, so only its own content is shown."""
    part = text.split(".")[index]
    try:
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return "not JSON"
