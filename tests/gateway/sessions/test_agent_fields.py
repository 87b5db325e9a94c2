"""The `User-Agent` in a session's hash: short fields on a real Redis, beside nodes that know one field."""

from __future__ import annotations

from typing import Any, Final

import pytest

from lockgate.sessions.agent_fields import MAX_VALUE, agent_fields, read_agent
from lockgate.sessions.lifecycle import MAX_AGENT
from lockgate.sessions.overview import sessions_of
from lockgate.sessions.refresh_token import RefreshClaim, new_sid
from lockgate.sessions.session_store import Session
from lockgate.settings import TokenSettings
from lockgate.stores.layout import UserKeys
from lockgate_common.redis.client import RedisClient
from tests.support.session_node import CLIENT, Node

BROWSER: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
)
AGENTS: Final = [
    *("x" * length for length in (0, 1, 60, 61, 63, 64, 65, 127, 128, 129, 192, MAX_AGENT)),
    *("x" * before + character * 90 for before in range(58, 66) for character in "é€😀"),
    "\xff" * MAX_AGENT,
]
"""Around each cut, with characters of one to four bytes across it, up to the longest that is kept."""


async def _begin(node: Node, agent: str) -> Session:
    session = await node.session_store.begin(
        sub="alice", sid=new_sid(), client_id=CLIENT, address="2001:db8::1", agent=agent, password_version="1"
    )
    assert session is not None
    return session


async def _rotate(node: Node, session: Session, agent: str) -> Session:
    claim = RefreshClaim(session.sub, session.sid, session.generation)
    following = await node.session_store.rotate(claim, client_id=CLIENT, address="2001:db8::2", agent=agent)
    assert isinstance(following, Session)
    return following


async def _stored(redis: RedisClient, session: Session) -> dict[bytes, bytes]:
    found: dict[Any, Any] = await redis.hgetall(UserKeys.of(session.sub).session(session.sid))
    return found


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_is_read_as_it_was_written(agent: str) -> None:
    fields = agent_fields(agent)
    assert read_agent({name.encode(): value.encode() for name, value in fields.items()}) == agent
    assert max(len(value.encode()) for value in fields.values()) <= MAX_VALUE


@pytest.mark.parametrize("agent", AGENTS)
async def test_a_session_tells_the_agent_that_it_was_begun_and_refreshed_with(node: Node, agent: str) -> None:
    session = await _begin(node, agent)
    assert session.agent == agent
    assert [view.agent for view in await sessions_of(node.redis, "alice")] == [agent]
    session = await _rotate(node, session, BROWSER)
    assert session.agent == BROWSER
    session = await _rotate(node, session, agent)
    assert session.agent == agent
    assert [view.agent for view in await sessions_of(node.redis, "alice")] == [agent]


async def test_a_shorter_agent_leaves_nothing_of_a_longer_one(redis: RedisClient, node: Node) -> None:
    session = await _begin(node, "x" * MAX_AGENT)
    session = await _rotate(node, session, "y" * MAX_VALUE)
    assert session.agent == "y" * MAX_VALUE
    stored = await _stored(redis, session)
    assert [name for name in stored if name.startswith(b"agent")] == [b"agent"]


async def test_a_session_of_a_browser_stays_in_the_compact_form(redis: RedisClient, node: Node) -> None:
    session = await _begin(node, BROWSER)
    session = await _rotate(node, session, BROWSER)
    assert await redis.object("encoding", UserKeys.of(session.sub).session(session.sid)) == b"listpack"


@pytest.mark.parametrize("older", ["", "curl/8", "é" * 40, BROWSER, "z" * MAX_AGENT])
async def test_an_agent_that_an_older_node_wrote_is_read_whole(redis: RedisClient, node: Node, older: str) -> None:
    """An older node writes one field, and leaves the further ones where they are."""
    session = await _begin(node, "x" * MAX_AGENT)
    await redis.hset(UserKeys.of(session.sub).session(session.sid), "agent", older)
    assert [view.agent for view in await sessions_of(redis, "alice")] == [older]
    claim = RefreshClaim(session.sub, session.sid, session.generation)
    current = await node.session_store.current(claim)
    assert current is not None
    assert current.agent == older


@pytest.mark.parametrize("agent", AGENTS)
async def test_an_older_node_reads_the_beginning_of_an_agent(redis: RedisClient, node: Node, agent: str) -> None:
    session = await _begin(node, agent)
    beginning = (await _stored(redis, session))[b"agent"].decode()
    assert agent.startswith(beginning)
    assert bool(beginning) == bool(agent)


async def test_no_value_of_a_usual_session_is_longer_than_a_compact_hash_allows(redis: RedisClient, node: Node) -> None:
    session = await node.session_store.begin(
        sub="alice",
        sid=new_sid(),
        client_id=TokenSettings().client_id,
        address="2001:0db8:1111:2222:3333:4444:5555:6666",
        agent="\xff" * MAX_AGENT,
        password_version="1795820150.386001",
    )
    assert session is not None
    assert max(map(len, (await _stored(redis, session)).values())) <= MAX_VALUE
