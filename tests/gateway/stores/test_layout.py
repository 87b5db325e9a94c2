"""Every key of one user lies in one slot of a Redis Cluster, and lives exactly as long as it is needed. R-152."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lockgate.stores.layout import UserKeys, admission_keys, ended_life_ms, slack_ms

TEXT = st.text(min_size=1, max_size=60).filter(lambda text: text.isprintable())


def _tag(key: str) -> str:
    """What Redis Cluster hashes: between the first `{` and the next `}`."""
    return key[key.index("{") + 1 : key.index("}")]


@given(sub=TEXT, jti=TEXT, sid=TEXT)
def test_all_keys_of_a_user_share_their_tag(sub: str, jti: str, sid: str) -> None:
    keys = UserKeys.of(sub)
    names = [keys.jti(jti), keys.ended(sid), keys.epoch, keys.session(sid), keys.sessions, keys.blocked, keys.tickets]
    assert len({_tag(name) for name in names}) == 1
    assert _tag(names[0])
    assert len(set(names)) == len(names)


@given(one=TEXT, other=TEXT)
def test_two_users_never_share_a_tag(one: str, other: str) -> None:
    assert (UserKeys.of(one).tag == UserKeys.of(other).tag) == (one == other)


def test_what_admission_asks_is_what_the_sessions_write() -> None:
    keys = UserKeys.of("alice")
    assert admission_keys("alice", "j", "s").names == (
        keys.jti("j").encode(),
        keys.ended("s").encode(),
        keys.epoch.encode(),
    )


def test_a_revoked_token_is_remembered_until_the_last_node_refuses_it_anyhow() -> None:
    """R-221: the clocks of the nodes that issue and verify it may each be off, and both allow for that."""
    assert slack_ms(leeway_s=10) == 30_000
    assert ended_life_ms(access_life_s=300, leeway_s=10) == 330_000
