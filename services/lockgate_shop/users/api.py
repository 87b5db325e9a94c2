"""The routes of the users service."""

import re
from datetime import datetime
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator, Field

from lockgate_shop.kit.http.api import Body, Line, ResponseBody, from_state
from lockgate_shop.kit.http.caller import UserId
from lockgate_shop.kit.http.links import LinkTable
from lockgate_shop.kit.http.problems import document_problems, require_granted
from lockgate_shop.kit.problem import CREDENTIALS_REQUIRED, NOT_FOUND
from lockgate_shop.users.accounts import BAD_PASSWORD, USERNAME_TAKEN, Accounts, Registration
from lockgate_shop.users.models import AccountRecord, Role, Status

GATEWAY: Final = frozenset({"gateway"})
LINKS: Final = LinkTable({"/users": GATEWAY, "/internal/credentials": GATEWAY, "/internal/accounts": GATEWAY})

router: Final = APIRouter()

_ADDRESS: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")


async def _get_accounts(request: Request) -> Accounts:
    return from_state(Accounts, "accounts", request)


AccountsDep = Annotated[Accounts, Depends(_get_accounts)]


def _check_email(text: str) -> str:
    # Whether mail arrives there is for a message to find out; here only what could never be an address is refused.
    if not _ADDRESS.fullmatch(text) or not text.isprintable():
        raise ValueError("not an email address")
    return text


DisplayName = Annotated[Line, Field(max_length=80)]
Email = Annotated[str, Field(max_length=254), AfterValidator(_check_email)]


class RegisterBody(Body):
    """What a new user gives at registration."""

    username: str
    password: Annotated[str, Field(repr=False)]
    display_name: DisplayName | None = None
    email: Email | None = None


class ProfileBody(Body):
    """What of a profile is to change; what is left out stays. `email: null` removes the address."""

    display_name: DisplayName = ""
    email: Email | None = None


class ProfileResponse(ResponseBody):
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
    def from_account(cls, account: AccountRecord) -> Self:
        """What the owner of `account` sees."""
        avatar = f"/users/me/avatar?v={account.avatar_id}" if account.avatar_id else None
        return cls(
            id=account.id,
            username=account.username,
            display_name=account.display_name,
            email=account.email,
            roles=account.roles,
            created_at=account.created_at,
            avatar=avatar,
        )


class CredentialsBody(Body):
    """What a user typed at the gateway's login."""

    username: str
    password: Annotated[str, Field(repr=False)]


class PasswordBody(Body):
    """What a user gives to change the password."""

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


class AccountResponse(ResponseBody):
    """An account, as the gateway needs it to issue tokens."""

    sub: UUID
    username: str
    display_name: str
    email: str | None
    email_verified: bool
    """Whether the address is known to be the user's: only then may services take it for the user."""
    roles: list[str]
    status: Literal["active", "blocked"]
    password_changed_at: datetime

    @classmethod
    def from_account(cls, account: AccountRecord) -> Self:
        """What the gateway is told of `account`."""
        return cls(
            sub=account.id,
            username=account.username,
            display_name=account.display_name,
            email=account.email,
            email_verified=account.email_verified,
            roles=account.roles,
            status=Status(account.status).value,
            password_changed_at=account.password_changed_at,
        )


class ValidResponse(ResponseBody):
    """The password is this account's."""

    valid: Literal[True] = True
    account: AccountResponse


class InvalidResponse(ResponseBody):
    """No such account, another password, or blocked; which one is not told."""

    valid: Literal[False] = False


@router.post("/users/register", status_code=201, responses=document_problems(BAD_PASSWORD, USERNAME_TAKEN))
async def register(body: RegisterBody, accounts: AccountsDep) -> ProfileResponse:
    """Register. Needs no user; the new one is a customer."""
    wanted = Registration(
        username=body.username, password=body.password, display_name=body.display_name, email=body.email
    )
    return ProfileResponse.from_account(require_granted(await accounts.register_account(wanted)))


@router.get("/users/me", responses=document_problems(CREDENTIALS_REQUIRED, NOT_FOUND))
async def read_profile(user: UserId, accounts: AccountsDep) -> ProfileResponse:
    """The user's own profile."""
    return ProfileResponse.from_account(require_granted(await accounts.read_account(user)))


@router.patch("/users/me", responses=document_problems(CREDENTIALS_REQUIRED, NOT_FOUND))
async def change_profile(user: UserId, body: ProfileBody, accounts: AccountsDep) -> ProfileResponse:
    """Change the user's own profile."""
    values = body.model_dump(exclude_unset=True)
    return ProfileResponse.from_account(require_granted(await accounts.change_profile(user, values)))


@router.post("/internal/credentials/verify")
async def verify_credentials(body: CredentialsBody, accounts: AccountsDep) -> ValidResponse | InvalidResponse:
    """Whether a password is right. One answer for everything that is wrong."""
    account = await accounts.verify_password(body.username, body.password)
    return ValidResponse(account=AccountResponse.from_account(account)) if account else InvalidResponse()


@router.post("/internal/credentials/change", responses=document_problems(BAD_PASSWORD))
async def change_password(body: PasswordBody, accounts: AccountsDep) -> ValidResponse | InvalidResponse:
    """Change a password, if the current one is right."""
    outcome = await accounts.change_password(body.sub, body.current_password, body.new_password)
    return (
        InvalidResponse()
        if outcome is None
        else ValidResponse(account=AccountResponse.from_account(require_granted(outcome)))
    )


@router.post("/internal/accounts/lookup", responses=document_problems(NOT_FOUND))
async def look_up_account(body: LookupBody, accounts: AccountsDep) -> AccountResponse:
    """The account with a name."""
    return AccountResponse.from_account(require_granted(await accounts.look_up(body.username)))


@router.put("/internal/accounts/{sub}/status", responses=document_problems(NOT_FOUND))
async def set_status(sub: str, body: StatusBody, accounts: AccountsDep) -> AccountResponse:
    """Block an account, or let it log in again."""
    return AccountResponse.from_account(require_granted(await accounts.set_status(sub, body.status)))


@router.put("/internal/accounts/{sub}/roles", responses=document_problems(NOT_FOUND))
async def set_roles(sub: str, body: RolesBody, accounts: AccountsDep) -> AccountResponse:
    """Say what an account is for."""
    return AccountResponse.from_account(require_granted(await accounts.set_roles(sub, body.roles)))


@router.get("/internal/accounts/{sub}", responses=document_problems(NOT_FOUND))
async def read_account(sub: str, accounts: AccountsDep) -> AccountResponse:
    """An account with its status, as it is now."""
    return AccountResponse.from_account(require_granted(await accounts.read_account(sub)))
