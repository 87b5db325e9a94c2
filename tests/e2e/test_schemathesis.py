"""Requests made up from the gateway's merged description, through a whole stack: every response is as described."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx
import pytest
import schemathesis

from lockgate_shop.users.demo import PASSWORD
from tests.support.openapi import checks, operations, try_out
from tests.support.stack import running_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.slow]

REFUSED_ANYWHERE: Final = frozenset({400, 401, 403, 404, 405, 413, 415, 429})
"""What `default` stands for in the description: what the edge, the policy and the services refuse anywhere."""
LAST: Final = ("/auth/logout", "/auth/logout-all")
"""They end the session that the others are tried with."""


@pytest.fixture
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Not the one that all tests share: failed logins are counted, and would make it ask for captchas."""
    with running_stack(tmp_path_factory.mktemp("made-up")) as stack:
        yield stack


def test_whatever_is_made_up_is_answered_as_described(own_stack: Stack) -> None:
    with httpx.Client(base_url=own_stack.url, timeout=30, trust_env=False) as http:
        document = http.get("/openapi.json").json()
        assert document["x-unavailable"] == []
        login = http.post("/auth/login", json={"username": "alice", "password": PASSWORD}).json()
        schema = schemathesis.openapi.from_dict(document)
        schema.config.update(base_url=own_stack.url)
        headers = {"Authorization": f"Bearer {login['access_token']}"}
        ordered = sorted(operations(schema), key=lambda operation: operation.path in LAST)
        wanted = checks(REFUSED_ANYWHERE)
        before = [operation for operation in ordered if operation.path not in LAST]
        assert try_out(before, wanted, examples=2, headers=headers) > 60
        # Until here alice was let in: the answers were not all the same refusal.
        assert http.get("/auth/me", headers=headers).status_code == 200
        assert try_out(ordered[len(before) :], wanted, examples=2, headers=headers) == len(LAST)
