"""The access token of a session, made the same way whoever will hold it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lockgate.accounts.users import Account
from lockgate.identity.issuer import Issuer, Subject
from lockgate.sessions.session_store import Session

PASSWORD: Final = "pwd"  # noqa: S105 - an authentication method reference of RFC 8176


class AccessTokens:
    """Makes access tokens for sessions.

    A session that reaches less far than all scopes has no roles in its tokens: what a role may do is said nowhere in
    terms of scopes, so a role would carry such a session beyond what it was limited to.

    Args:
        issuer: signs.
        scopes_of: the scopes that each role grants.

    Attributes:
        life_s: of a token.
    """

    def __init__(self, issuer: Issuer, scopes_of: Mapping[str, tuple[str, ...]]) -> None:
        self._issuer = issuer
        self._scopes_of = scopes_of
        self._all = {scope for scopes in scopes_of.values() for scope in scopes}
        self.life_s = issuer.life_s

    def granted(self, account: Account) -> set[str]:
        """Everything that an account may do."""
        return {scope for role in account.roles for scope in self._scopes_of.get(role, ())}

    def rest_s(self, session: Session) -> int:
        """Until a session ends in any case, seconds."""
        return max(0, int(session.ends - session.read_at))

    def refresh_life_s(self, session: Session) -> int:
        """Until a session ends if nothing more comes of it, seconds."""
        return max(0, int(session.expires - session.read_at))

    def scopes(self, session: Session, account: Account) -> list[str]:
        """What a session may do: what its account may now, as far as the session reaches."""
        granted = self.granted(account)
        return sorted(granted if session.scope is None else granted.intersection(session.scope.split()))

    def issue(self, session: Session, account: Account) -> tuple[str, str]:
        """A token of a session, and the scope in it."""
        scopes = self.scopes(session, account)
        unlimited = session.scope is None or self._all.issubset(session.scope.split())
        token = self._issuer.issue(
            Subject(
                sub=session.sub,
                sid=session.sid,
                client_id=session.client_id,
                epoch=session.epoch,
                roles=account.roles if unlimited else (),
                scopes=scopes,
                auth_time=int(session.created),
                amr=(PASSWORD,),
            )
        )
        return token, " ".join(scopes)
