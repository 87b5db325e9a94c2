"""The access token of a session, made the same way for every holder.

A session can be limited to scopes: a client with fewer scopes began it, or a refresh narrowed it. A limit on scopes
alone is too little. An administrator's session through a client that may read orders would have the role `admin` in
its tokens, and so would open every call of `/admin`, and all that services let roles do. So a token has the roles of
its account only if the session reaches all scopes that any role grants: a session without a limit, or by a client that
has every scope. Otherwise it has none at all. A role says nowhere which scopes it is worth, so a part of the roles
could only be guessed at. A session that covers the scopes of its own user is limited all the same: roles without
scopes would slip through otherwise.

A token without roles is therefore a limited one, because an account has one role at least. The gateway's own calls
that reach beyond the session of the token (list and end other sessions, logout of all sessions, password) are 403
`insufficient_scope` for it. It can end its own session and use `/auth/me` and tickets, which stand for the same token.
No scope opens these calls to a client: a client that needs them needs every scope, and then it has the roles as well.
So a backend that logs administrators in, or that calls services which look at roles, needs a client with every scope,
or the public client.

A token tells the user's name and e-mail address only where a route names a header for them (`identity_headers`), and
never when it is limited: a client with a part of the scopes learns neither.
"""

from __future__ import annotations

from typing import Final

from lockgate.accounts.users import Account
from lockgate.identity.issuer import Issuer, Subject
from lockgate.identity.model import tellable
from lockgate.keys.current import Current
from lockgate.policy.rules import Rules
from lockgate.sessions.session_store import Session

PASSWORD: Final = "pwd"  # noqa: S105 - an authentication method reference of RFC 8176


class AccessTokens:
    """Makes access tokens for sessions.

    A session that reaches less far than all scopes has no roles in its tokens: what a role may do is said nowhere in
    terms of scopes, so a role would carry such a session beyond what it was limited to.

    Args:
        issuer: signs.
        rules: name the scopes that each role grants.

    Attributes:
        life_s: of a token.
    """

    def __init__(self, issuer: Issuer, rules: Current[Rules]) -> None:
        self._issuer = issuer
        self._rules = rules
        self.life_s = issuer.life_s

    def granted(self, account: Account) -> set[str]:
        """Everything that an account may do."""
        scopes_of = self._rules.value.settings.roles
        return {scope for role in account.roles for scope in scopes_of.get(role, ())}

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
        grantable = self._rules.value.settings.grantable_scopes
        unlimited = session.scope is None or grantable.issubset(session.scope.split())
        told = self._rules.value.routes.told if unlimited else frozenset()
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
                username=tellable(account.username) if "name" in told else "",
                email=tellable(account.email) if "email" in told else "",
                email_verified="email_verified" in told and bool(account.email),
            )
        )
        return token, " ".join(scopes)


def split_scope(text: str) -> frozenset[str]:
    """The scopes of a request. They are separated by U+0020 and nothing else (RFC 6749 section 3.3).

    Other white space belongs to a word, which is then unknown: it must not mean one thing here and another elsewhere.
    """
    return frozenset(word for word in text.split(" ") if word)
