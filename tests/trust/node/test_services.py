"""Express and Fastify with the package for node, asked over sockets with what the Python package signs (R-312)."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Final

import pytest

from lockgate_trust import MAX_DIGEST_BODY, Body, LinkKey, LinkKeys, content_digest
from lockgate_trust.headers import CONTENT_DIGEST
from lockgate_trust.testing import Fault
from tests.support import node_service
from tests.support.links import signed_whatever

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from tests.support.node_service import NodeService

pytestmark = pytest.mark.process

KINDS: Final = ("express", "express4", "fastify")
JSON: Final = ("content-type", "application/json")
ORDER: Final = b'{"sku": "chair"}'
ZOE: Final = {"user": "Zo\u00eb", "roles": ["admin", "customer"]}
TITLE: Final = "A valid identity signature is required"


@pytest.fixture(scope="module", params=KINDS)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeService]:
    with node_service.running(tmp_path_factory.mktemp("node"), request.param) as running:
        yield running


def assert_refused(service: NodeService, answer: httpx.Response, reason: str) -> None:
    """Refused with 401 for that reason, and nothing reached the application: the next line is of the next request."""
    assert answer.status_code == 401
    assert service.said()["refused"] == reason
    healthy = service.ask("GET", "/healthz", [])
    assert (healthy.status_code, service.said()) == (200, {"served": 0})


@pytest.mark.parametrize("target", ["/orders/7", "/orders/7?page=2&q=%20a", "/orders/a%2Fb/%C3%AB", "/orders/7?a?b"])
def test_r312_a_signed_request_reaches_the_application_with_its_caller(service: NodeService, target: str) -> None:
    answer = service.ask("GET", target, service.signed("GET", target))
    assert (answer.status_code, answer.json()) == (200, {**ZOE, "body": ""})
    assert service.said() == {"served": 0}


@pytest.mark.parametrize("size", [1, 1000, MAX_DIGEST_BODY])
def test_r312_a_covered_body_is_handed_on_whole(service: NodeService, size: int) -> None:
    body = bytes(index % 251 for index in range(size))
    answer = service.ask("POST", "/orders/7", service.signed("POST", "/orders/7", body=body), body)
    assert answer.json() == {**ZOE, "body": body.decode("latin-1")}
    assert service.said() == {"served": size}


def test_r312_a_covered_body_that_comes_in_pieces_is_handed_on_whole(service: NodeService) -> None:
    headers = service.signed("POST", "/orders/7", body=b"one two three")
    answer = service.ask("POST", "/orders/7", headers, iter([b"one ", b"two ", b"three"]))
    assert answer.json() == {**ZOE, "body": "one two three"}
    assert service.said() == {"served": 13}


def test_a_parser_behind_the_middleware_reads_a_covered_body(service: NodeService) -> None:
    answer = service.ask("POST", "/json", [JSON, *service.signed("POST", "/json", body=ORDER)], ORDER)
    assert answer.json() == {"parsed": {"sku": "chair"}, **ZOE, "body": ""}
    assert service.said() == {"served": 0}


def test_a_long_body_is_streamed_uncovered(service: NodeService) -> None:
    body = bytes(MAX_DIGEST_BODY + 1)
    answer = service.ask("POST", "/orders/7", service.signed("POST", "/orders/7", body=body), body)
    assert answer.status_code == 200
    assert service.said() == {"served": len(body)}


def test_two_requests_on_one_connection_are_two_requests(service: NodeService) -> None:
    """What is given back of one body is no part of the next request."""
    heads = []
    for body in (b"first", b"second"):
        fields = "".join(f"{name}: {value}\r\n" for name, value in service.signed("POST", "/orders/7", body=body))
        heads.append(f"POST /orders/7 HTTP/1.1\r\n{fields}Content-Length: {len(body)}\r\n")
    first = (heads[0] + "Host: orders\r\n\r\nfirst").encode("latin-1")
    answers = service.ask_raw(first.decode("latin-1") + heads[1], b"second")
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert [service.said(), service.said()] == [{"served": 5}, {"served": 6}]


def test_an_open_path_needs_no_signature_and_has_no_caller(service: NodeService) -> None:
    answer = service.ask("GET", "/healthz?x=1", [("x-user-id", "root")])
    assert (answer.status_code, answer.json()) == (200, {"user": None, "roles": [], "body": ""})
    service.said()
    for path in ("/healthz/", "/%68ealthz", "//healthz", "/Healthz"):
        assert_refused(service, service.ask("GET", path, []), "missing")


def test_r313_a_refusal_is_that_of_the_python_package(service: NodeService) -> None:
    """Status, fields and members (RFC 9457, RFC 9110 section 15.5.2), and nothing about why."""
    wrong = service.signed("GET", "/orders/8")
    for headers, code in (([], "signature_required"), (wrong, "signature_invalid")):
        answer = service.ask("GET", "/orders/7", headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Signature"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json() == {
            "type": "about:blank",
            "title": TITLE,
            "status": 401,
            "detail": TITLE,
            "code": code,
            "request_id": None,
        }
        service.said()


def test_a_path_of_no_route_is_refused_like_the_others(service: NodeService) -> None:
    assert_refused(service, service.ask("GET", "/nowhere", []), "missing")
    assert service.ask("GET", "/nowhere", service.signed("GET", "/nowhere")).status_code == 404


def test_r312_a_replayed_request_is_refused(service: NodeService) -> None:
    headers = service.signed("GET", "/orders/7")
    assert service.ask("GET", "/orders/7", headers).status_code == 200
    service.said()
    assert_refused(service, service.ask("GET", "/orders/7", headers), "replayed")


@pytest.mark.parametrize(
    ("method", "target"),
    [("DELETE", "/orders/7"), ("GET", "/orders/8"), ("GET", "/orders/7?a=2"), ("GET", "/orders/%37")],
)
def test_r312_another_method_path_or_query_is_refused(service: NodeService, method: str, target: str) -> None:
    assert_refused(service, service.ask(method, target, service.signed("GET", "/orders/7")), "bad_signature")


@pytest.mark.parametrize("sent", [b'{"sku": "table"}', b"", ORDER + b" "])
def test_r312_another_body_is_refused(service: NodeService, sent: bytes) -> None:
    answer = service.ask("POST", "/json", [JSON, *service.signed("POST", "/json", body=ORDER)], sent)
    assert_refused(service, answer, "body_mismatch")


@pytest.mark.parametrize("chunked", [False, True])
def test_r312_a_body_that_was_not_said_is_refused(service: NodeService, *, chunked: bool) -> None:
    headers = [JSON, *service.signed("POST", "/json")]
    answer = service.ask("POST", "/json", headers, iter([ORDER]) if chunked else ORDER)
    assert_refused(service, answer, "not_covered")


def test_a_short_body_under_the_word_of_a_streamed_one_is_refused(service: NodeService) -> None:
    headers = service.signed("POST", "/json", body=Body.STREAMED)
    assert_refused(service, service.ask("POST", "/json", [JSON, *headers], ORDER), "not_covered")


def test_r312_a_covered_body_of_more_than_64_kib_is_not_read_to_its_end(service: NodeService) -> None:
    """The client sends as much as a digest may cover, and a byte, and then waits."""
    headers = service.signed("POST", "/orders/7", body=b"short")
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = f"POST /orders/7 HTTP/1.1\r\n{fields}Content-Length: 1000000000\r\n"
    answer = service.ask_raw(head, bytes(MAX_DIGEST_BODY + 1))
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert service.said()["refused"] == "body_too_large"


def test_a_client_that_goes_away_within_a_covered_body_is_not_served(service: NodeService) -> None:
    headers = service.signed("POST", "/orders/7", body=ORDER)
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(f"POST /orders/7 HTTP/1.1\r\nHost: orders\r\n{fields}Content-Length: 16\r\n\r\nhalf".encode())
    assert service.ask("GET", "/healthz", []).status_code == 200
    assert service.said() == {"served": 0}


@pytest.mark.parametrize(("fault", "reason"), [
    (Fault.UNSIGNED, "missing"), (Fault.EXPIRED, "expired"), (Fault.FOREIGN, "unknown_key")
])  # fmt: skip
def test_r312_an_identity_without_a_valid_signature_is_refused(service: NodeService, fault: Fault, reason: str) -> None:
    assert_refused(service, service.ask("GET", "/orders/7", service.signed("GET", "/orders/7", fault=fault)), reason)


@pytest.mark.parametrize(("seconds", "reason"), [(-22, "expired"), (30, "not_yet_valid")])
def test_r312_a_time_out_of_the_window_is_refused(service: NodeService, seconds: float, reason: str) -> None:
    headers = service.signed("GET", "/orders/7", now=time.time() + seconds)
    assert_refused(service, service.ask("GET", "/orders/7", headers), reason)


@pytest.mark.parametrize("seconds", [9, -15])
def test_r221_a_signer_whose_clock_differs_by_less_than_the_leeway_is_accepted(
    service: NodeService, seconds: float
) -> None:
    headers = service.signed("GET", "/orders/7", now=time.time() + seconds)
    assert service.ask("GET", "/orders/7", headers).status_code == 200
    service.said()


def test_r312_a_field_that_comes_twice_is_refused(service: NodeService) -> None:
    for name in ("X-User-Id", "Signature", "Signature-Input", "X-Request-Id"):
        headers = service.signed("GET", "/orders/7")
        twice = [*headers, (name, dict(headers)[name.lower()])]
        assert_refused(service, service.ask("GET", "/orders/7", twice), "duplicate_header")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("x-user-id", "root", "duplicate_header"),
        ("x-session-id", "1", "not_covered"),
        ("x_user_id", "root", "disguised_header"),
        (CONTENT_DIGEST, content_digest(b""), "not_covered"),
    ],
)
def test_r312_an_identity_field_beside_the_signed_ones_is_refused(
    service: NodeService, name: str, value: str, reason: str
) -> None:
    headers = [*service.signed("GET", "/orders/7"), (name, value)]
    assert_refused(service, service.ask("GET", "/orders/7", headers), reason)


def test_r312_another_secret_another_key_and_another_services_key_are_refused(service: NodeService) -> None:
    own = service.key
    products = LinkKeys.load(service.links, "gateway").outbound("products")
    for key, reason in (
        (LinkKey(own.key_id, "gateway", "orders", bytes(32)), "bad_signature"),
        (LinkKey("gateway.orders.ffffffff", "gateway", "orders", own.secret), "unknown_key"),
        (products, "unknown_key"),
    ):
        answer = service.ask("GET", "/orders/7", service.signed("GET", "/orders/7", key=key))
        assert_refused(service, answer, reason)


def test_r223_the_fields_of_an_upload_open_no_socket(service: NodeService) -> None:
    for body in (Body.STREAMED, ORDER):
        headers = service.signed("GET", "/orders/7", body=body)
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
        upgrade = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        answer = service.ask_raw(f"GET /orders/7 HTTP/1.1\r\n{fields}{upgrade}")
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert service.said()["refused"] == "body_mismatch"


@pytest.mark.parametrize("kind", ["express", "express4"])
def test_r312_a_body_whose_bytes_are_gone_is_a_fault_and_reaches_no_application(tmp_path: Path, kind: str) -> None:
    """A parser of bodies was put before the middleware, and kept nothing."""
    with node_service.running(tmp_path, kind, "after") as service:
        answer = service.ask("POST", "/json", [JSON, *service.signed("POST", "/json", body=ORDER)], ORDER)
        assert answer.status_code == 500
        assert "before every parser" in service.said()["fault"]
        assert service.ask("GET", "/orders/7", service.signed("GET", "/orders/7")).status_code == 200
        assert service.said() == {"served": 0}


@pytest.mark.parametrize("kind", ["express", "express4"])
def test_r312_bytes_that_a_parser_in_front_kept_are_checked(tmp_path: Path, kind: str) -> None:
    with node_service.running(tmp_path, kind, "kept") as service:
        headers = [JSON, *service.signed("POST", "/json", body=ORDER)]
        assert service.ask("POST", "/json", headers, ORDER).json()["parsed"] == {"sku": "chair"}
        service.said()
        headers = [JSON, *service.signed("POST", "/json", body=ORDER)]
        assert_refused(service, service.ask("POST", "/json", headers, b'{"sku": "table"}'), "body_mismatch")


@pytest.mark.parametrize("kind", ["express", "fastify"])
def test_r313_a_full_memory_of_signatures_is_503(tmp_path: Path, kind: str) -> None:
    with node_service.running(tmp_path, kind, CAPACITY="1") as service:
        assert service.ask("GET", "/orders/7", service.signed("GET", "/orders/7")).status_code == 200
        service.said()
        answer = service.ask("GET", "/orders/7", service.signed("GET", "/orders/7"))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["code"] == "overloaded"
        assert service.said()["refused"] == "replay_memory_full"


@pytest.mark.parametrize("forward_auth", [False, True])
def test_only_where_a_front_proxy_asks_the_gateway_a_body_may_go_unsaid(tmp_path: Path, *, forward_auth: bool) -> None:
    env = {"FORWARD_AUTH": "1"} if forward_auth else {}
    with node_service.running(tmp_path, "express", **env) as service:
        request = signed_whatever(body=Body.UNSEEN, method="POST", key=service.key, now=time.time())
        answer = service.ask("POST", "/orders", list(request.headers), ORDER)
        assert (answer.status_code, service.said()) == (
            (200, {"served": len(ORDER)})
            if forward_auth
            else (401, {"refused": "not_covered", "about": CONTENT_DIGEST})
        )
