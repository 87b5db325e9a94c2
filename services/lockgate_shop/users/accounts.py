"""The rules of accounts: registering, profile, and whether a password belongs to an account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from lockgate_shop.kit.clock import Clock, utc_now
from lockgate_shop.kit.problem import NOT_FOUND, Problem
from lockgate_shop.users.models import AccountRecord, Role, Status, normal_username
from lockgate_shop.users.passwords import Fit, Passwords, is_acceptable, password_spellings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lockgate_shop.users.store import AccountStore

BAD_USERNAME: Final = Problem(
    400, "invalid_username", "A username is 3 to 32 letters a to z, digits, dots, hyphens and underscores"
)
BAD_PASSWORD: Final = Problem(400, "invalid_password", "A password has 8 characters or more, and 512 bytes at most")
USERNAME_TAKEN: Final = Problem(409, "username_taken", "This username is taken")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What a new user gives at registration."""

    username: str
    password: str
    display_name: str | None = None
    email: str | None = None
    email_verified: bool = False
    """Said by an operator's program, never by the new user."""


class Accounts:
    """Everything that can be done with accounts.

    Args:
        store: where they are.
        clock: what time it is.
    """

    def __init__(self, store: AccountStore, passwords: Passwords, clock: Clock) -> None:
        self._store = store
        self._passwords = passwords
        self._clock = clock

    async def register_account(
        self, wanted: Registration, roles: tuple[Role, ...] = (Role.CUSTOMER,)
    ) -> AccountRecord | Problem:
        """Make an account.

        Raises:
            BusyError: too many passwords are waiting.
        """
        username = normal_username(wanted.username)
        if username is None:
            return BAD_USERNAME
        if not is_acceptable(wanted.password):
            return BAD_PASSWORD
        if await self._store.by_username(username):
            return USERNAME_TAKEN
        now = utc_now(self._clock)
        account = AccountRecord(
            id=uuid4(),
            username=username,
            password_hash=await self._passwords.hash_password(wanted.password),
            display_name=wanted.display_name or username,
            email=wanted.email,
            roles=[str(role) for role in roles],
            status=Status.ACTIVE,
            created_at=now,
            password_changed_at=now,
            avatar_id=None,
            email_verified=wanted.email is not None and wanted.email_verified,
        )
        return account if await self._store.add_account(account) else USERNAME_TAKEN

    async def read_account(self, sub: str) -> AccountRecord | Problem:
        """The account that a token's `sub` means."""
        account_id = _account_id(sub)
        account = await self._store.by_id(account_id) if account_id else None
        return account or NOT_FOUND

    async def change_profile(self, sub: str, values: Mapping[str, str | None]) -> AccountRecord | Problem:
        """Change the display name or the email of the account that `sub` means; another address is not verified."""
        account_id = _account_id(sub)
        changed = {**values, "email_verified": False} if "email" in values else values
        account = await self._store.change_account(account_id, changed) if account_id else None
        return account or NOT_FOUND

    async def verify_password(self, spelling: str, password: str) -> AccountRecord | None:
        """The account, if it exists, is active and has this password; which of these failed is not told.

        What a call costs depends on the password that was typed alone: one full verification for each of its
        `password_spellings`, for every outcome.

        Raises:
            BusyError: too many passwords are waiting.
        """
        if not password_spellings(password):
            return None
        username = normal_username(spelling)
        account = await self._store.by_username(username) if username else None
        fit = await self._passwords.verify_password(password, account.password_hash if account else None)
        if account is None or not fit or account.status != Status.ACTIVE:
            return None
        if fit is Fit.OLD:
            renewed = await self._passwords.hash_password(password)
            await self._store.replace_hash(account.id, account.password_hash, renewed)
        return account

    async def change_password(self, sub: str, current: str, new: str) -> AccountRecord | Problem | None:
        """Give the account that `sub` means another password; None when `current` is not its password.

        Raises:
            BusyError: too many passwords are waiting.
        """
        if not is_acceptable(new):
            return BAD_PASSWORD
        account_id = _account_id(sub)
        account = await self._store.by_id(account_id) if account_id else None
        if account is None or await self.verify_password(account.username, current) is None:
            return None
        # Read again: verifying may have stored another hash of the same password.
        account = await self._store.by_id(account.id)
        if account is None:
            return None
        hashed = await self._passwords.hash_password(new)
        return await self._store.replace_password(account.id, account.password_hash, hashed, utc_now(self._clock))

    async def look_up(self, spelling: str) -> AccountRecord | Problem:
        """The account with this name, however it is spelt."""
        username = normal_username(spelling)
        account = await self._store.by_username(username) if username else None
        return account or NOT_FOUND

    async def set_status(self, sub: str, status: Status) -> AccountRecord | Problem:
        """Block the account that `sub` means, or let it log in again."""
        account_id = _account_id(sub)
        account = await self._store.change_account(account_id, {"status": status}) if account_id else None
        return account or NOT_FOUND

    async def set_roles(self, sub: str, roles: Sequence[Role]) -> AccountRecord | Problem:
        """Say what the account that `sub` means is for; its tokens tell from the next refresh on."""
        account_id = _account_id(sub)
        values = {"roles": sorted(set(roles))}
        account = await self._store.change_account(account_id, values) if account_id else None
        return account or NOT_FOUND


def _account_id(sub: str) -> UUID | None:
    try:
        found = UUID(sub)
    except ValueError:
        return None
    # UUID() also reads braces, `urn:uuid:` and other spellings; a `sub` has one.
    return found if str(found) == sub else None
