"""The routes of the users service."""

import re
from datetime import datetime
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator, Field

from lockgate_shop.kit.http.api import Answer, Body, Line, from_state
from lockgate_shop.kit.http.caller import UserId
from lockgate_shop.kit.http.links import LinkTable
from lockgate_shop.kit.http.problems import documented, granted
from lockgate_shop.kit.problem import CREDENTIALS_REQUIRED, NOT_FOUND
from lockgate_shop.users.accounts import BAD_PASSWORD, USERNAME_TAKEN, Accounts, Registration
from lockgate_shop.users.models import Account, Role, Status

GATEWAY: Final = frozenset({"gateway"})
LINKS: Final = LinkTable({"/users": GATEWAY, "/internal/credentials": GATEWAY, "/internal/accounts": GATEWAY})

router: Final = APIRouter()

_ADDRESS: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")


def _accounts(request: Request) -> Accounts:
    return from_state(Accounts, "accounts", request)


AccountsDep = Annotated[Accounts, Depends(_accounts)]


def _address(text: str) -> str:
    # Whether mail arrives there is for a message to find out; here only what could never be an address is refused.
    if not _ADDRESS.fullmatch(text) or not text.isprintable():
        raise ValueError("not an email address")
    return text


DisplayName = Annotated[Line, Field(max_length=80)]
Email = Annotated[str, Field(max_length=254), AfterValidator(_address)]


class RegisterBody(Body):
    """What somebody gives to become a user."""

    username: str
    password: Annotated[str, Field(repr=False)]
    display_name: DisplayName | None = None
    email: Email | None = None


class ProfileBody(Body):
    """What of a profile is to change; what is left out stays. `email: null` removes the address."""

    display_name: DisplayName = ""
    email: Email | None = None


class ProfileAnswer(Answer):
    """An account, as its owner sees it."""

    id: UUID
    username: str
    display_name: str
    email: str | None
    roles: list[str]
    created_at: datetime
    avatar: str | None
    """Where the picture is; another address when it is another picture."""

    @classmethod
    def of(cls, account: Account) -> Self:
        """What the owner of `account` sees."""
        avatar = f"/users/me/avatar?v={account.avatar_id}" if account.avatar_id else None
        return cls.model_validate({**vars(account), "avatar": avatar})


class CredentialsBody(Body):
    """What somebody typed at the gateway's login."""

    username: str
    password: Annotated[str, Field(repr=False)]


class PasswordBody(Body):
    """What somebody gives to have another password."""

    sub: str
    current_password: Annotated[str, Field(repr=False)]
    new_password: Annotated[str, Field(repr=False)]


class LookupBody(Body):
    """The name of an account, in any spelling."""

    username: str


class StatusBody(Body):
    """Whether an account may log in."""

    status: Status


class RolesBody(Body):
    """What an account is for."""

    roles: Annotated[list[Role], Field(min_length=1, max_length=len(Role))]


class AccountAnswer(Answer):
    """An account, as the gateway needs it to issue tokens."""

    sub: UUID
    username: str
    display_name: str
    email: str | None
    roles: list[str]
    status: Literal["active", "blocked"]
    password_changed_at: datetime

    @classmethod
    def of(cls, account: Account) -> Self:
        """What the gateway is told of `account`."""
        return cls.model_validate({**vars(account), "sub": account.id}, from_attributes=True)


class ValidAnswer(Answer):
    """The password is this account's."""

    valid: Literal[True] = True
    account: AccountAnswer


class InvalidAnswer(Answer):
    """No such account, another password, or blocked; which one is not told."""

    valid: Literal[False] = False


@router.post("/users/register", status_code=201, responses=documented(BAD_PASSWORD, USERNAME_TAKEN))
async def register(body: RegisterBody, accounts: AccountsDep) -> ProfileAnswer:
    """Register. Needs no user; the new one is a customer."""
    wanted = Registration(
        username=body.username, password=body.password, display_name=body.display_name, email=body.email
    )
    return ProfileAnswer.of(granted(await accounts.register(wanted)))


@router.get("/users/me", responses=documented(CREDENTIALS_REQUIRED, NOT_FOUND))
async def read_profile(user: UserId, accounts: AccountsDep) -> ProfileAnswer:
    """The profile of the user who asks."""
    return ProfileAnswer.of(granted(await accounts.read(user)))


@router.patch("/users/me", responses=documented(CREDENTIALS_REQUIRED, NOT_FOUND))
async def change_profile(user: UserId, body: ProfileBody, accounts: AccountsDep) -> ProfileAnswer:
    """Change the profile of the user who asks."""
    values = body.model_dump(exclude_unset=True)
    return ProfileAnswer.of(granted(await accounts.change_profile(user, values)))


@router.post("/internal/credentials/verify")
async def verify_credentials(body: CredentialsBody, accounts: AccountsDep) -> ValidAnswer | InvalidAnswer:
    """Whether a password is right. One answer for everything that is wrong."""
    account = await accounts.verify(body.username, body.password)
    return ValidAnswer(account=AccountAnswer.of(account)) if account else InvalidAnswer()


@router.post("/internal/credentials/change", responses=documented(BAD_PASSWORD))
async def change_password(body: PasswordBody, accounts: AccountsDep) -> ValidAnswer | InvalidAnswer:
    """Change a password, if the current one is right."""
    outcome = await accounts.change_password(body.sub, body.current_password, body.new_password)
    return InvalidAnswer() if outcome is None else ValidAnswer(account=AccountAnswer.of(granted(outcome)))


@router.post("/internal/accounts/lookup", responses=documented(NOT_FOUND))
async def look_up_account(body: LookupBody, accounts: AccountsDep) -> AccountAnswer:
    """The account with a name."""
    return AccountAnswer.of(granted(await accounts.look_up(body.username)))


@router.put("/internal/accounts/{sub}/status", responses=documented(NOT_FOUND))
async def set_status(sub: str, body: StatusBody, accounts: AccountsDep) -> AccountAnswer:
    """Block an account, or let it log in again."""
    return AccountAnswer.of(granted(await accounts.set_status(sub, body.status)))


@router.put("/internal/accounts/{sub}/roles", responses=documented(NOT_FOUND))
async def set_roles(sub: str, body: RolesBody, accounts: AccountsDep) -> AccountAnswer:
    """Say what an account is for."""
    return AccountAnswer.of(granted(await accounts.set_roles(sub, body.roles)))


@router.get("/internal/accounts/{sub}", responses=documented(NOT_FOUND))
async def read_account(sub: str, accounts: AccountsDep) -> AccountAnswer:
    """An account with its status, as it is now."""
    return AccountAnswer.of(granted(await accounts.read(sub)))
