"""Sessions on a real Redis and a clock that is moved by hand: the changes that a node makes to them, without HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from lockgate.admission.gate import Admission
from lockgate.errors import Refusal
from lockgate.identity.bearer import format_gate
from lockgate.identity.issuer import Issuer, Subject
from lockgate.identity.marks import SharedMarks
from lockgate.identity.verifier import AccessTokenRules, Verifier
from lockgate.keys import keyring
from lockgate.keys.current import Current
from lockgate.keys.keyring import KeyRing
from lockgate.sessions.refresh_token import RefreshClaim, RefreshTokens, new_sid
from lockgate.sessions.session_store import Outcome, Session, SessionStore
from lockgate.settings import TokenSettings
from lockgate.stores.layout import admission_keys
from lockgate.stores.links import link_to
from lockgate_common.redis.client import RedisClient
from tests.support.clock import ManualClock

CLIENT: Final = "web"
LINK_TIMEOUT_S: Final = 5
"""Not what is tested here; a machine that is busy must not look like a Redis that is away."""


class Pair(NamedTuple):
    """The tokens of a login or refresh."""

    access: str
    refresh: str
    session: Session


class Node:
    """The parts of one gateway node that a session goes through, put together as the node does.

    Args:
        redis: shared by all nodes.
        folder: with the key ring; made where missing.
        clock: this node's.
        token: how long things live.
    """

    def __init__(self, redis: RedisClient, folder: Path, clock: ManualClock, token: TokenSettings) -> None:
        keyring.create(folder)
        ring = keyring.load(folder)
        self._keys = Current(ring)
        self.redis = redis
        self.clock = clock
        self.token = token
        self.session_store = SessionStore(redis, token, clock)
        self.refresh_tokens = RefreshTokens(lambda: self._keys.value.refresh_secrets)
        self.link = link_to(redis, LINK_TIMEOUT_S)
        self._admission = Admission(self.link, clock)
        self.issuer = Issuer(
            self._keys, issuer=token.issuer, audience=token.audience, life_s=token.access_life_s, clock=clock
        )
        rules = AccessTokenRules(token.issuer, token.audience, token.leeway_s, token.access_life_s)
        self.verifier = Verifier(self._keys, rules, clock, marks=SharedMarks(), cache_size=100, keys_of=admission_keys)

    async def login(self, sub: str, client_id: str = CLIENT) -> Pair:
        """Begin a session."""
        pair = await self.try_login(sub, client_id)
        assert pair is not None
        return pair

    async def try_login(self, sub: str, client_id: str = CLIENT) -> Pair | None:
        """Begin a session, if the user may."""
        session = await self.session_store.begin(
            sub=sub, sid=new_sid(), client_id=client_id, address="192.0.2.1", agent="test", password_version="1"
        )
        return self._pair(session) if session is not None else None

    async def refresh(self, token: str, client_id: str = CLIENT) -> Pair | Outcome | None:
        """Use a refresh token; `None`: it is none of ours."""
        claim = self.refresh_tokens.read(token)
        if claim is None:
            return None
        session = await self.session_store.rotate(claim, client_id=client_id, address="192.0.2.1", agent="test")
        return session if isinstance(session, Outcome) else self._pair(session)

    async def welcome(self, token: str) -> bool:
        """Whether an access token would be let in."""
        unverified = format_gate(token.encode())
        assert not isinstance(unverified, Refusal)
        claims = self.verifier.verify(unverified)
        return not isinstance(claims, Refusal) and not isinstance(await self._admission.judge_token(claims), Refusal)

    async def revoke(self, access: str) -> None:
        """Put an access token on the blocklist."""
        unverified = format_gate(access.encode())
        assert not isinstance(unverified, Refusal)
        claims = self.verifier.read(unverified)
        assert not isinstance(claims, Refusal)
        await self.session_store.block_token(claims.principal.sub, claims.principal.jti, claims.exp)

    def use(self, ring: KeyRing) -> None:
        """Sign, make and read with the keys of this ring from now on."""
        self._keys.value = ring

    def _pair(self, session: Session) -> Pair:
        access = self.issuer.issue(
            Subject(
                sub=session.sub,
                sid=session.sid,
                client_id=session.client_id,
                epoch=session.epoch,
                roles=("customer",),
                scopes=("orders:read",),
                auth_time=int(session.created),
                amr=("pwd",),
            )
        )
        claim = RefreshClaim(session.sub, session.sid, session.generation)
        return Pair(access, self.refresh_tokens.make(claim), session)


def paired(outcome: Pair | Outcome | None) -> Pair:
    """The tokens of a refresh that worked."""
    assert isinstance(outcome, Pair), outcome
    return outcome
