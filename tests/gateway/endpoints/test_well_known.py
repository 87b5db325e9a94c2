"""R-160, R-161: the public keys, for services that verify access tokens themselves."""

from __future__ import annotations

import re

import pytest

from tests.support.node import Node

JWKS = "/.well-known/jwks.json"


async def test_the_key_set_has_the_public_half_of_each_key(node: Node) -> None:
    """R-160."""
    answer = await node.get(JWKS)
    assert answer.status == 200
    assert answer.value("content-type") == "application/jwk-set+json"
    (key,) = answer.json["keys"]
    assert set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    assert key["kid"] == node.tokens.key.kid


async def test_the_key_set_may_be_kept_for_a_while_by_anybody(node: Node) -> None:
    """R-161."""
    answer = await node.get(JWKS)
    found = re.fullmatch(r"public, max-age=(\d+)", answer.value("cache-control"))
    assert found is not None
    assert 0 < int(found[1]) <= 300
    assert answer.value("access-control-allow-origin") == "*"


@pytest.mark.parametrize("spelling", ["{}", "W/{}", '"other", {}', "*"])
async def test_a_key_set_that_did_not_change_is_not_sent_again(node: Node, spelling: str) -> None:
    """R-161: rFC 9110 section 13.1.2: a list, a weak tag, any at all."""
    tag = (await node.get(JWKS)).value("etag")
    answer = await node.get(JWKS, f"If-None-Match: {spelling.format(tag)}\r\n")
    assert (answer.status, answer.body) == (304, b"")
    assert answer.value("etag") == tag
    assert (await node.get(JWKS, 'If-None-Match: "other"\r\n')).status == 200


async def test_head_is_get_without_the_body(node: Node) -> None:
    head = await node.ask(f"HEAD {JWKS} HTTP/1.1\r\n")
    whole = await node.get(JWKS)
    assert head.status == 200
    assert head.value("content-length") == str(len(whole.body))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_written(node: Node, method: str) -> None:
    """R-161."""
    answer = await node.ask(f"{method} {JWKS} HTTP/1.1\r\nContent-Length: 0\r\n")
    assert answer.status == 405
    assert set(answer.value("allow").split(", ")) == {"GET", "HEAD"}
