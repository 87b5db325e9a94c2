"""Two client libraries that know nothing of this gateway work with it: Authlib's, and oauth4webapi for JavaScript."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import warnings
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from lockgate_shop.users.demo import PASSWORD
from tests.support.stack import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.stack import Stack

from authlib.deprecate import AuthlibDeprecationWarning

with warnings.catch_warnings():
    warnings.simplefilter("ignore", AuthlibDeprecationWarning)  # it would rather have the successor of httpx
    from authlib.integrations.base_client import OAuthError
    from authlib.integrations.httpx_client import OAuth2Client

SCRIPT: Final = ROOT / "tests" / "e2e" / "oauth_client.mjs"
LIBRARY: Final = ROOT / ".venv" / "node" / "node_modules" / "oauth4webapi" / "build" / "index.js"
WITHIN_S: Final = 60

pytestmark = pytest.mark.stack


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=WITHIN_S, trust_env=False) as client:
        yield client


@pytest.fixture
def machine(http: httpx.Client) -> Iterator[dict[str, str]]:
    """A client with a secret, registered by an administrator and removed at the end."""
    admin = login(http, "admin")
    headers = {"authorization": f"Bearer {admin['access_token']}"}
    client_id = f"machine-{secrets.token_hex(4)}"
    content = {"client_id": client_id, "scopes": ["orders:read", "orders:write"]}
    answer = http.post("/admin/clients", json=content, headers=headers)
    assert answer.status_code == 201, answer.text
    yield answer.json()
    assert http.delete(f"/admin/clients/{client_id}", headers=headers).status_code == 204


def login(http: httpx.Client, username: str) -> dict[str, Any]:
    answer = http.post("/auth/login", json={"username": username, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def told(http: httpx.Client) -> dict[str, Any]:
    metadata: dict[str, Any] = http.get("/.well-known/oauth-authorization-server").json()
    return metadata


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_authlib_gets_uses_and_revokes_a_token(http: httpx.Client, machine: dict[str, str], method: str) -> None:
    metadata = told(http)
    client = OAuth2Client(
        machine["client_id"], machine["client_secret"], token_endpoint_auth_method=method, timeout=WITHIN_S
    )
    with client:
        token = client.fetch_token(metadata["token_endpoint"], grant_type="client_credentials", scope="orders:read")
        assert token["scope"] == "orders:read"
        asked = client.introspect_token(metadata["introspection_endpoint"], token=token["access_token"])
        assert asked.json()["sub"] == f"client:{machine['client_id']}"
        assert client.get(f"{metadata['issuer']}/auth/me").json()["scopes"] == ["orders:read"]
        revoked = client.revoke_token(metadata["revocation_endpoint"], token=token["access_token"])  # type: ignore[no-untyped-call]
        assert revoked.status_code == 200
        asked = client.introspect_token(metadata["introspection_endpoint"], token=token["access_token"])
        assert asked.json() == {"active": False}


def test_authlib_refreshes_a_session_by_itself(http: httpx.Client) -> None:
    metadata = told(http)
    tokens = login(http, "alice")
    expired = {**tokens, "expires_at": 1}
    client = OAuth2Client(
        "lockgate-login",
        token=expired,
        token_endpoint=metadata["token_endpoint"],
        token_endpoint_auth_method="none",
        timeout=WITHIN_S,
    )
    with client:
        me = client.get(f"{metadata['issuer']}/auth/me")
        assert me.status_code == 200
        assert client.token["refresh_token"] != tokens["refresh_token"]
        assert client.token["session_id"] == tokens["session_id"]


def test_authlib_is_told_what_is_wrong_in_its_own_words(http: httpx.Client, machine: dict[str, str]) -> None:
    metadata = told(http)
    for secret, scope, error in (
        ("wrong", "orders:read", "invalid_client"),
        (machine["client_secret"], "products:write", "invalid_scope"),
    ):
        with (
            OAuth2Client(machine["client_id"], secret, timeout=WITHIN_S) as client,
            pytest.raises(OAuthError) as refused,
        ):
            client.fetch_token(metadata["token_endpoint"], grant_type="client_credentials", scope=scope)
        assert refused.value.error == error


def test_oauth4webapi_does_all_of_it(http: httpx.Client, machine: dict[str, str]) -> None:
    """It also validates the access tokens by RFC 9068 against the published keys."""
    node = shutil.which("node")
    if node is None or not LIBRARY.exists():
        pytest.skip("node or oauth4webapi is not installed; `make test` installs it where npm is")
    metadata = told(http)
    tokens = login(http, "alice")
    given = {
        "issuer": metadata["issuer"],
        "audience": "lockgate",
        "client_id": machine["client_id"],
        "client_secret": machine["client_secret"],
        "refresh_token": tokens["refresh_token"],
    }
    done = subprocess.run(  # noqa: S603 - node, which was found
        [node, str(SCRIPT), LIBRARY.as_uri()],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["claims"]["sub"] == f"client:{machine['client_id']}"
    assert (result["before"]["active"], result["after"]) == (True, {"active": False})
    assert result["user"]["session_id"] == tokens["session_id"]
    assert result["userClaims"]["client_id"] == "lockgate-login"
    assert result["refused"] == "WWWAuthenticateChallengeError"
