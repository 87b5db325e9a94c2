"""R-166: keys come from the folder and from nowhere else; there is no remote key set to protect."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from lockgate.settings import KeySettings
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.upstream import Upstream


@pytest.mark.parametrize("name", ["jwks_url", "jwks_uri", "url", "remote"])
def test_no_setting_names_keys_elsewhere(name: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        KeySettings.model_validate({name: "https://keys.example/jwks.json"})


@pytest.mark.parametrize("name", ["jku", "x5u"])
async def test_a_token_that_names_a_place_for_its_key_makes_nobody_go_there(
    node: Node, upstream: Upstream, name: str
) -> None:
    """R-05."""
    async with upstreams.running(upstreams.recorder()) as elsewhere:
        header = {**node.tokens.header(), name: f"{elsewhere.url}/jwks.json"}
        for changed in (header, {**header, "kid": "unknown"}):
            bearer = f"Authorization: Bearer {node.tokens.token(changed)}\r\n"
            assert (await node.get("/orders", bearer)).status == 401
        # Anything that it might have begun is over once another look at the keys has been made.
        await node.worker.base.keys.look(thorough=True)
        assert elsewhere.requests == []
    assert upstream.requests == []
