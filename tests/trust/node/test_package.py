"""What a project gets that installs the package for node: types, both kinds of modules, helpers for tests."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest

from lockgate_trust import Body, LinkKey, LinkKeys, Refused, body_refused, verify
from tests.support.links import NOW, TRACE, accepted, refusal
from tests.support.node_modules import INSTALLED, node, project
from tests.support.node_service import PROGRAMS
from tests.support.stack import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process

PACKAGE: Final = ROOT / "trust" / "node"
TYPES: Final = ROOT / "tests" / "support" / "node_types"
KEY: Final = LinkKey("gateway.orders.1", "gateway", "orders", bytes(range(32)))
KEYS: Final = LinkKeys.from_keys("orders", [KEY])
KEY_OF_NODE: Final = (
    f'{{ id: "{KEY.key_id}", origin: "gateway", target: "orders", secret: Buffer.from("{KEY.secret.hex()}", "hex") }}'
)


def run(folder: Path, source: str, *packages: str, kind: str = "module") -> Any:  # noqa: ANN401 - JSON
    """What a program prints, as JSON."""
    argv = [node(), f"--input-type={kind}", "--eval", source]
    cwd = project(folder, PROGRAMS, *packages)
    return json.loads(subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=True).stdout)  # noqa: S603 - our own program


def test_the_types_fit_express_fastify_and_what_is_there(tmp_path: Path) -> None:
    folder = project(tmp_path, TYPES, "typescript", "express", "fastify", "@types/node", "@types/express")
    argv = [node(), str(INSTALLED / "typescript" / "bin" / "tsc"), "--project", str(folder)]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("name", ["index", "express", "fastify", "testing"])
def test_each_export_has_a_type_and_each_type_of_a_value_an_export(tmp_path: Path, name: str) -> None:
    entry = "lockgate-trust" if name == "index" else f"lockgate-trust/{name}"
    exported = run(tmp_path, f'console.log(JSON.stringify(Object.keys(await import("{entry}"))))')
    declared = (PACKAGE / "lib" / f"{name}.d.ts").read_text()
    values = re.findall(r"^export declare (?:const|function|class) (\w+)", declared, re.MULTILINE)
    assert sorted(values) == sorted(exported)


def test_a_commonjs_program_can_require_it(tmp_path: Path) -> None:
    source = """
const { callerOf } = require("lockgate-trust");
console.log(JSON.stringify([typeof callerOf, typeof require("lockgate-trust/express").identity]));
"""
    assert run(tmp_path, source, kind="commonjs") == ["function", "function"]


def test_it_has_no_dependencies_and_the_version_of_the_python_package() -> None:
    package = json.loads((PACKAGE / "package.json").read_text())
    assert [name for name in package if name.endswith(("ependencies", "scripts"))] == []
    assert f'version = "{package["version"]}"' in (ROOT / "trust" / "pyproject.toml").read_text()


CASES: Final[tuple[dict[str, Any], ...]] = (
    {"path": "/orders"},
    {"path": "/a%2Fb", "query": "q=%20a&q=", "user": "Zo\u00eb, %", "roles": ["b", "a", "\u6f22"], "scopes": []},
    {"method": "PUT", "path": "/orders", "user": "alice", "body": '{"sku": "\u6f22"}'},
    {
        "path": "/orders",
        "user": "alice",
        "sessionId": "s 1",
        "tokenId": "t-1",
        "authTime": 1_767_225_000,
        "traceparent": TRACE,
        "requestId": "r-1",
    },
    {"path": "/orders", "user": "alice", "fault": "unsigned"},
    {"path": "/orders", "user": "alice", "fault": "expired"},
    {"path": "/orders", "user": "alice", "fault": "foreign"},
)
REFUSED: Final = {"unsigned": Refused.MISSING, "expired": Refused.EXPIRED, "foreign": Refused.UNKNOWN_KEY}


def test_r310_what_its_tests_sign_is_what_the_python_package_verifies(tmp_path: Path) -> None:
    source = f"""
import {{ identityHeaders }} from "lockgate-trust/testing";
const key = {KEY_OF_NODE};
const cases = {json.dumps(CASES)};
console.log(JSON.stringify(cases.map((one) => identityHeaders(key, {{ now: {NOW}, ...one }}))));
"""
    for case, headers in zip(CASES, run(tmp_path, source), strict=True):
        outcome = verify(
            KEYS,
            method=case.get("method", "GET"),
            path=case["path"],
            query=case.get("query", ""),
            headers=list(headers.items()),
            now=NOW,
        )
        if "fault" in case:
            assert refusal(outcome) is REFUSED[case["fault"]]
            continue
        verified = accepted(outcome)
        caller = verified.caller
        assert (caller.user_id, caller.roles) == (case.get("user"), frozenset(case.get("roles", ())))
        assert (caller.session_id, caller.token_id) == (case.get("sessionId"), case.get("tokenId"))
        assert (caller.auth_time, caller.traceparent) == (case.get("authTime"), case.get("traceparent"))
        assert caller.request_id == case.get("requestId", caller.request_id)
        body = case.get("body", "").encode()
        assert verified.body is (Body.DIGEST if body else Body.NONE)
        assert body_refused(verified, body) is None


def test_r310_a_fastify_service_is_tested_without_a_socket(tmp_path: Path) -> None:
    source = """
import Fastify from "fastify";
import { callerOf, LinkKeys } from "lockgate-trust";
import { identity } from "lockgate-trust/fastify";
import { identityHeaders, makeLinkKey } from "lockgate-trust/testing";
const key = makeLinkKey("gateway", "orders");
const app = Fastify();
await app.register(identity, { keys: new LinkKeys("orders", [key]), onRefusal: () => {} });
app.post("/orders", async (request) => ({ user: callerOf(request).userId, body: request.body }));
const payload = '{"sku": "chair"}';
const inject = (fault, sent = payload) => app.inject({
  method: "POST",
  url: "/orders?a=1",
  payload: sent,
  headers: {
    "content-type": "application/json",
    ...identityHeaders(key, { method: "POST", path: "/orders", query: "a=1", body: payload, user: "alice", fault }),
  },
});
const answers = [await inject(), await inject("expired"), await inject(undefined, '{"sku": "table"}')];
console.log(JSON.stringify(answers.map((answer) => [answer.statusCode, answer.json().body ?? answer.json().code])));
"""
    said = run(tmp_path, source, "fastify")
    assert said == [[200, {"sku": "chair"}], [401, "signature_invalid"], [401, "signature_invalid"]]


def test_a_signed_fetch_asks_a_real_service(tmp_path: Path) -> None:
    """Every fault is 401 there, and a body of its own is a covered one."""
    source = """
import { once } from "node:events";
import express from "express";
import { callerOf, LinkKeys } from "lockgate-trust";
import { identity } from "lockgate-trust/express";
import { Fault, makeLinkKey, signedIn } from "lockgate-trust/testing";
const key = makeLinkKey("gateway", "orders");
const app = express();
app.use(identity({ keys: new LinkKeys("orders", [key]), onRefusal: () => {} }), express.json());
app.post("/orders", (request, response) => response.json([callerOf(request).userId, request.body]));
const server = app.listen(0, "127.0.0.1");
await once(server, "listening");
const address = `http://127.0.0.1:${server.address().port}`;
const headers = { "content-type": "application/json" };
const ask = (fault) =>
  signedIn(address, { key, user: "alice", fault })("/orders?a=%20", { method: "POST", headers, body: '{"n": 1}' });
const told = [await (await ask()).json()];
for (const fault of Object.values(Fault)) told.push((await ask(fault)).status);
console.log(JSON.stringify(told));
server.close();
server.closeAllConnections();
"""
    assert run(tmp_path, source, "express") == [["alice", {"n": 1}], 401, 401, 401]
