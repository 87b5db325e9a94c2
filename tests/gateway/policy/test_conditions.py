"""Conditions of a route on the identity, as a rule: what meets them, and what the configuration may not ask."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.edge.path import canonical_path
from lockgate.edge.wire import WireError
from lockgate.errors import ConfigurationError, Reason
from lockgate.identity.model import Principal
from lockgate.policy.authorize import authorize
from lockgate.policy.conditions import Conditions, find_unmet
from lockgate.policy.routes import RouteTable
from lockgate.settings import Settings
from lockgate_trust import cover
from tests.support.clock import ManualClock

NOW = 1_800_000_000


def principal(**changes: Any) -> Principal:  # noqa: ANN401 - any field
    usual = Principal("alice", "s", "j", "web", ("customer",), frozenset(), NOW, ("pwd",), cover(()))
    return usual._replace(**changes)


def conditions(prefix: str = "/users", **words: Any) -> Conditions:  # noqa: ANN401 - as in a configuration file
    entry = {"name": "users", "prefix": prefix, "upstreams": ["http://127.0.0.1:9"], **words}
    roles = {"customer": ("orders:read",), "support": ("orders:read",), "admin": ()}
    settings = Settings(roles=roles, route=[entry])  # type: ignore[arg-type]  # as from a file
    (route,) = RouteTable.from_settings(settings).routes
    found = route.demands["GET"].conditions
    assert found is not None
    return found


def unmet(asked: Conditions, who: Principal, path: str = "/users", now: float = NOW) -> Reason | None:
    refusal = find_unmet(asked, who, path, now)
    return None if refusal is None else refusal.reason


def test_a_route_without_a_condition_has_none() -> None:
    with pytest.raises(AssertionError):
        conditions()


@pytest.mark.parametrize(
    ("words", "changes", "why"),
    [
        ({"roles": ["customer"]}, {}, None),
        ({"roles": ["admin", "customer"]}, {}, None),
        ({"roles": ["admin", "support"]}, {}, Reason.ROLE_MISSING),
        ({"roles": ["admin"]}, {"roles": ()}, Reason.ROLE_MISSING),
        ({"roles": ["admin"]}, {"roles": ("ADMIN",)}, Reason.ROLE_MISSING),
        ({"amr": ["pwd"]}, {}, None),
        ({"amr": ["pwd"]}, {"amr": ("otp", "pwd")}, None),
        ({"amr": ["pwd"]}, {"amr": ()}, Reason.AMR_MISSING),
        ({"amr": ["pwd"]}, {"amr": ("otp",)}, Reason.AMR_MISSING),
        ({"max_auth_age_s": 300}, {"auth_time": NOW - 300}, None),
        ({"max_auth_age_s": 300}, {"auth_time": NOW - 301}, Reason.AUTH_TOO_OLD),
        ({"max_auth_age_s": 300}, {"auth_time": 0}, Reason.AUTH_TOO_OLD),
        ({"max_auth_age_s": 300}, {"auth_time": None}, Reason.AUTH_TOO_OLD),
        ({"max_auth_age_s": 300}, {"auth_time": NOW + 5}, None),
        ({"email_verified": True}, {"email_verified": True}, None),
        ({"email_verified": True}, {"email": "alice@example.com"}, Reason.EMAIL_UNVERIFIED),
        ({"email_verified": True}, {}, Reason.EMAIL_UNVERIFIED),
    ],
)
def test_a_claim_meets_a_condition_or_is_refused_also_where_it_is_absent(
    words: dict[str, Any], changes: dict[str, Any], why: Reason | None
) -> None:
    """R-270, R-324."""
    assert unmet(conditions(**words), principal(**changes)) is why


def test_rights_are_judged_before_the_authentication_and_the_refusal_tells_the_age() -> None:
    """R-271: a new login is asked for only where it helps."""
    asked = conditions(roles=["admin"], amr=["pwd"], max_auth_age_s=300, owner="/users/{sub}")
    old = principal(amr=(), auth_time=0)
    assert unmet(asked, old, "/users/bob") is Reason.ROLE_MISSING
    assert unmet(asked, old._replace(roles=("admin",)), "/users/bob") is Reason.NOT_OWNER
    for who, why in (
        (old._replace(roles=("admin",)), Reason.AMR_MISSING),
        (old._replace(roles=("admin",), amr=("pwd",)), Reason.AUTH_TOO_OLD),
    ):
        refusal = find_unmet(asked, who, "/users/alice", NOW)
        assert refusal is not None
        assert (refusal.reason, refusal.max_age_s) == (why, 300)


def test_a_missing_scope_is_told_before_any_other_condition() -> None:
    """R-271."""
    entry = {
        "name": "a",
        "prefix": "/a",
        "upstreams": ["http://127.0.0.1:9"],
        "scopes": {"*": ["x"]},
        "roles": ["admin"],
    }
    settings = Settings(roles={"admin": ("x",)}, route=[entry])  # type: ignore[arg-type]  # as from a file
    (route,) = RouteTable.from_settings(settings).routes
    told = authorize(route.demands["GET"], principal(), "/a", ManualClock())
    assert told is not None
    assert told.reason is Reason.SCOPE_MISSING


@pytest.mark.parametrize(
    ("owner", "sub", "path", "owned"),
    [
        ("/users/{sub}", "alice", "/users/alice", True),
        ("/users/{sub}", "alice", "/users/alice/", True),
        ("/users/{sub}", "alice", "/users/alice/orders/7", True),
        ("/users/{sub}", "alice", "/users", False),
        ("/users/{sub}", "alice", "/users/", False),
        ("/users/{sub}", "alice", "/users/bob", False),
        ("/users/{sub}", "alice", "/users/alice2", False),
        ("/users/{sub}", "alice", "/users/Alice", False),
        ("/users/{sub}", "alice", "/users/x/alice", False),
        ("/users/{sub}", "alice", "/users/alice;v=1", False),
        ("/users/{sub}", "alice", "/users/alice%3Bv=1", False),
        ("/users/{sub}", "alice", "/users/alice%2Fx", False),
        ("/users/{sub}", "alice", "/users/bob%2F..%2Falice", False),
        ("/users/{sub}", "alice", "/users%2Falice", False),
        ("/users/{sub}", "alice", "/users/alice%00", False),
        ("/users/{sub}", "alice", "/users/%2561lice", False),
        ("/users/{sub}/orders", "alice", "/users/alice/orders", True),
        ("/users/{sub}/orders", "alice", "/users/alice/orders/7", True),
        ("/users/{sub}/orders", "alice", "/users/alice", False),
        ("/users/{sub}/orders", "alice", "/users/alice/", False),
        ("/users/{sub}/orders", "alice", "/users/alice/orders2", False),
        ("/users/{sub}/orders", "alice", "/users/alice/orders%2F7", False),
        ("/users/by-id/{sub}", "alice", "/users/by-id/alice", True),
        ("/users/by-id/{sub}", "alice", "/users/alice", False),
        ("/users/{sub}", "a:b@c|d é", "/users/a:b@c%7Cd%20%C3%A9", True),
        ("/users/{sub}", "a:b", "/users/a%3Ab", True),
        ("/users/{sub}", "bob/x", "/users/bob/x", False),
        ("/users/{sub}", "bob/x", "/users/bob%2Fx", False),
        ("/users/{sub}", "bob;x", "/users/bob;x", False),
        ("/users/{sub}", "bob;x", "/users/bob%3Bx", False),
        ("/users/{sub}", "%62ob", "/users/%2562ob", False),
    ],
)
def test_a_path_belongs_to_the_subject_that_its_segment_names(owner: str, sub: str, path: str, owned: bool) -> None:  # noqa: FBT001 - a table
    """R-272: also for a service that decodes `%2F` or drops path parameters."""
    assert unmet(conditions(owner=owner), principal(sub=sub), path) is (None if owned else Reason.NOT_OWNER)


@given(sub=st.text(min_size=1, max_size=8), raw=st.binary(max_size=12))
def test_no_spelling_of_a_path_belongs_to_two_subjects(sub: str, raw: bytes) -> None:
    """R-272."""
    asked = conditions(owner="/users/{sub}")
    try:
        path = canonical_path(b"/users/" + raw)
    except WireError:
        return
    owners = {
        one for one in (sub, "alice", raw.decode("latin-1")) if one and unmet(asked, principal(sub=one), path) is None
    }
    assert len(owners) <= 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"roles": ["admin"], "auth": "public", "methods": ["GET"]}, "need auth"),
        ({"roles": ["admin"], "auth": "optional", "methods": ["GET"]}, "need auth"),
        ({"amr": ["pwd"], "auth": "optional", "methods": ["GET"]}, "need auth"),
        ({"max_auth_age_s": 60, "auth": "optional", "methods": ["GET"]}, "need auth"),
        ({"owner": "/users/{sub}", "auth": "public", "methods": ["GET"]}, "need auth"),
        ({"roles": ["amdin"]}, "no role 'amdin'"),
        ({"max_auth_age_s": 10}, "leeway_s"),
        ({"owner": ""}, "one segment"),
        ({"owner": "/users"}, "one segment"),
        ({"owner": "/users/{user}"}, "one segment"),
        ({"owner": "/users/x{sub}"}, "one segment"),
        ({"owner": "/users/{sub}x"}, "one segment"),
        ({"owner": "/users/{sub}/"}, "one segment"),
        ({"owner": "/users/{sub}/{sub}"}, "canonical"),
        ({"owner": "/users//{sub}"}, "canonical"),
        ({"owner": "/users/../{sub}"}, "canonical"),
        ({"owner": "/users/%61/{sub}"}, "canonical"),
        ({"owner": "/users/é/{sub}"}, "canonical"),
        ({"owner": "/{sub}"}, "below /users"),
        ({"owner": "/usersx/{sub}"}, "below /users"),
        ({"owner": "/orders/{sub}"}, "below /users"),
    ],
)
def test_a_condition_that_nothing_could_meet_ends_the_start(words: dict[str, Any], said: str) -> None:
    """R-273: the one line names the route."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        conditions(**words)
    assert "route 'users'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("words", [{"amr": ["otp"]}, {"max_auth_age_s": -1}])
def test_a_condition_that_no_token_states_is_no_setting(words: dict[str, Any]) -> None:
    """R-273."""
    with pytest.raises(ValueError, match=next(iter(words))):
        conditions(**words)
