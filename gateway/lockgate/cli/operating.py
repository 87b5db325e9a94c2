"""The parts of a gateway that the commands for users, sessions, tokens and clients need."""

from __future__ import annotations

import contextlib
import json
import secrets
import sys
from typing import TYPE_CHECKING, Any

import typer

from lockgate.accounts.clients import Clients
from lockgate.accounts.users import AT_ONCE, Accounts
from lockgate.cli.trail import flush_audit
from lockgate.clock import SystemClock
from lockgate.edge.ticker import Ticker
from lockgate.errors import ConfigurationError, LockgateError, quoted
from lockgate.keys.files import LINKS_FOLDER, join_readers
from lockgate.keys.reload import link_source
from lockgate.observe.audit import Audit
from lockgate.sessions.administration import Administration
from lockgate.sessions.call_origin import CallOrigin
from lockgate.sessions.parts import SessionParts
from lockgate.sessions.session_store import SessionStore
from lockgate.stores.redis import connect
from lockgate.stores.trail import AuditTrail
from lockgate.upstream.client import UpstreamClient, build_upstreams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lockgate.settings import Settings


class NotFoundError(LockgateError):
    """No record has the given name."""


def command_origin() -> CallOrigin:
    """The origin of a command, in the place of the origin of a call."""
    return CallOrigin(address="", agent="lockgate", request_id=secrets.token_hex(16))


@contextlib.asynccontextmanager
async def open_administration(settings: Settings) -> AsyncIterator[Administration]:
    """The calls of operators, on the same parts as in a gateway; lines of the audit trail go to standard error.

    Raises:
        ConfigurationError: Redis or the users service is not configured.
    """
    if settings.redis_url is None:
        raise ConfigurationError("redis_url is not set; give the gateway's own, for example by REDIS_URL")
    clock, token = SystemClock(), settings.token
    join_readers(settings.keys.directory)
    # Of all links only the one that is used: a route that has none yet must not keep an operator from shutting a user
    # out.
    links = link_source(settings.keys.directory / LINKS_FOLDER, lambda: [settings.accounts.service]).read()
    redis = connect(settings.redis_url.get_secret_value())
    service = settings.accounts.service
    # The ticker stands still: no command lasts until a connection is too old.
    upstreams = build_upstreams(settings.upstream_urls(service), settings.upstream, Ticker(clock), at_once=AT_ONCE)
    client = UpstreamClient(upstreams, lambda: links.outbound(service), clock)
    accounts = Accounts(client, timeout_s=settings.accounts.timeout_s)
    audit = Audit(AuditTrail(redis, settings.audit.length), clock, sys.stderr)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        stack.push_async_callback(accounts.close)
        stack.push_async_callback(flush_audit, audit)
        replicas = settings.store.wait_replicas
        yield Administration(
            SessionParts(
                redis=redis,
                session_store=SessionStore(redis, token, clock, replicas),
                accounts=accounts,
                clients=Clients(redis, clock, replicas),
                audit=audit,
                token=token,
            )
        )


async def sub_of(operators: Administration, user: str) -> str:
    """The id of a user, by id or name.

    Raises:
        NotFoundError: there is no such user.
    """
    found = await operators.sub_of(user, command_origin())
    if found is None:
        raise NotFoundError(f"there is no user {quoted(user)}")
    return found


def show_result(content: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print a result: `content` as JSON for programs, or `text` for people."""
    typer.echo(json.dumps(content, indent=2) if as_json else text)
