"""`python -m tests.support.trust_vectors`: write `trust/vectors.json`: requests, each with its outcome.

Every verifier of the profile, in any language, has to pass them. A request is signed here by RFC 9421 and the standard
library alone, and each outcome is written by hand: nothing of `lockgate_trust` decides what is right.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any, Final

from lockgate_trust import LinkKey
from tests.support.links import (
    GATEWAY_TO_ORDERS,
    NOW,
    ORDERS_TO_PRODUCTS,
    REQUEST,
    TRACE,
    USERS_TO_ORDERS,
    signature_over,
)

FILE: Final = Path(__file__).parents[2] / "trust" / "vectors.json"
SECOND: Final = LinkKey("gateway.orders.00000002", "gateway", "orders", bytes(range(3, 35)))
ME: Final = "orders"
KEYS: Final = (GATEWAY_TO_ORDERS, SECOND, USERS_TO_ORDERS)

Json = dict[str, Any]
Headers = tuple[tuple[str, str], ...]

ID: Final = (("x-request-id", REQUEST),)
ALICE: Final = (
    *ID,
    ("traceparent", TRACE),
    ("x-user-id", "alice"),
    ("x-user-roles", "customer reviewer"),
    ("x-user-scopes", "orders:read orders:write"),
    ("x-session-id", "s-1"),
    ("x-token-id", "t-1"),
    ("x-auth-time", "1767225000"),
)
CHOSEN: Final = (("x-forwarded-user", "alice"), ("remote-email", "alice@shop.example"))
BODY: Final = b'{"sku": "chair"}'
LONG: Final = bytes(64 * 1024 + 1)


def request(  # noqa: PLR0913 - the parts of a request, all by name
    *,
    method: str = "GET",
    path: str = "/orders/42",
    query: str = "page=2",
    headers: Headers = ALICE,
    digest_of: bytes | None = None,
    nonce: str = "none-7f3c9a51d20e1a",
    times: tuple[int, int] = (int(NOW), int(NOW) + 10),
    key: LinkKey = GATEWAY_TO_ORDERS,
    secret: bytes | None = None,
    claim: tuple[str, str] = ("", ""),
) -> Json:
    """A request with a right signature, by a right or a wrong claim.

    Args:
        digest_of: the body that the covered digest is of.
        times: created, expires.
        secret: another one than the key's.
        claim: a part of ``Signature-Input``, and what to replace it with before the signature is made.
    """
    if digest_of is not None:
        headers, nonce = (*headers, ("content-digest", digest(digest_of))), nonce.removeprefix("none-")
    names = " ".join(f'"{name}"' for name in ("@method", "@path", "@query", *dict(headers)))
    params = (
        f'({names});created={times[0]};expires={times[1]};nonce="{nonce}";keyid="{key.key_id}";tag="lockgate-identity"'
    )
    said = f"lockgate={params}".replace(*claim)
    lines = [f'"@method": {method}', f'"@path": {path}', f'"@query": ?{query}']
    lines += [f'"{name}": {value}' for name, value in headers]
    base = "\n".join([*lines, f'"@signature-params": {said.removeprefix("lockgate=")}'])
    signature = signature_over(base, secret or key.secret)
    fields = [*headers, ("signature-input", said), ("signature", signature)]
    return {"method": method, "path": path, "query": query, "headers": [list(field) for field in fields]}


def digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def with_field(made: Json, name: str, value: str) -> Json:
    return {**made, "headers": [*made["headers"], [name, value]]}


def without(made: Json, name: str) -> Json:
    return {**made, "headers": [field for field in made["headers"] if field[0] != name]}


def changed(made: Json, name: str, value: str) -> Json:
    return {**made, "headers": [[key, value if key == name else old] for key, old in made["headers"]]}


def accepted(name: str, made: Json, *, body: str = "none", further: Headers = (), **caller: object) -> Json:
    """A vector that has to be accepted; `caller` is what differs from Alice behind the gateway."""
    alice = {
        "request_id": REQUEST,
        "service": "gateway",
        "user_id": "alice",
        "roles": ["customer", "reviewer"],
        "scopes": ["orders:read", "orders:write"],
        "session_id": "s-1",
        "token_id": "t-1",
        "auth_time": 1767225000,
        "traceparent": TRACE,
        "on_behalf": None,
    }
    more = {"further": dict(further)} if further else {}
    return {"name": name, **made, "accepted": {"body": body, "caller": {**alice, **caller}, **more}}


def refused(name: str, made: Json, reason: str, about: str = "") -> Json:
    """A vector that has to be refused."""
    return {"name": name, **made, "refused": {"reason": reason, "about": about}}


def carrying(made: Json, body: bytes) -> Json:
    """A request that comes with a body: base64, or how many zero bytes it has."""
    said = {"zeros": len(body)} if body == LONG else {"body": base64.b64encode(body).decode()}
    return {**made, **said}


def at(made: Json, seconds: float) -> Json:
    """A request that arrives that long after it was signed."""
    return {**made, "now": NOW + seconds}


NO_USER: Final[Json] = {
    "user_id": None,
    "roles": [],
    "scopes": [],
    "session_id": None,
    "token_id": None,
    "auth_time": None,
    "traceparent": None,
}


def accepted_vectors() -> list[Json]:
    """What every verifier has to accept."""
    zoe = (*ID, ("x-user-id", "Zo%C3%AB%2C%20%25"), ("x-user-roles", "b a b %E6%BC%A2"), ("x-user-scopes", ""))
    marked = (*ID, ("x-user-id", "%EF%BB%BFalice"), ("x-user-roles", ""), ("x-user-scopes", ""))
    users = (*ID, ("x-caller", "users"), ("x-user-id", "alice"), ("x-user-roles", ""), ("x-user-scopes", ""))
    mixed = {**request(), "headers": [[name.title(), value] for name, value in reversed(request()["headers"])]}
    return [
        accepted("every identity header", request()),
        accepted("no user", request(headers=ID), **NO_USER),
        accepted("header names in another case and order", mixed),
        accepted(
            "headers that are not of the profile",
            with_field(with_field(request(), "x-user-id-hint", "\u00e9"), "accept", "a\tb"),
        ),
        accepted(
            "a user name with escapes",
            request(headers=zoe),
            **NO_USER | {"user_id": "Zo\u00eb, %", "roles": ["a", "b", "\u6f22"]},
        ),
        accepted("a byte order mark is a character", request(headers=marked), **NO_USER | {"user_id": "\ufeffalice"}),
        accepted(
            "a service on a user's behalf",
            request(headers=users, key=USERS_TO_ORDERS),
            **NO_USER | {"user_id": "alice", "service": "users", "on_behalf": "users"},
        ),
        accepted("headers of names that the signer chose", request(headers=(*ALICE, *CHOSEN)), further=CHOSEN),
        accepted(
            "chosen names before the digest",
            carrying(request(method="POST", headers=(*ALICE, *CHOSEN), digest_of=BODY), BODY),
            body="digest",
            further=CHOSEN,
        ),
        accepted("the other key of a link in rotation", request(key=SECOND)),
        *(
            accepted(f"the target {path}?{query}", request(path=path, query=query))
            for path, query in (
                ("/a%2Fb/%C3%AB", "q=%20a&q=%2B&empty="),
                ("/;v=1/..x", "a?b"),
                ("/orders", ""),
                ("*", ""),
            )
        ),
        *(accepted(f"{after} s after it was signed", at(request(), after)) for after in (-10, 0, 10, 19.999)),
        accepted("the longest life", request(times=(int(NOW), int(NOW) + 60))),
        accepted("a covered body", carrying(request(method="POST", digest_of=BODY), BODY), body="digest"),
        accepted("a covered empty body", carrying(request(method="POST", digest_of=b""), b""), body="digest"),
        accepted("a streamed body", carrying(request(nonce="streamed-7f3c9a51d20e1a"), LONG), body="streamed"),
        accepted("a signer that sees no body", carrying(request(nonce="unseen-7f3c9a51d20e1a"), b""), body="unseen"),
        accepted("a signer that says nothing of the body", request(nonce="7f3c9a51d20e1a"), body="unsaid"),
        accepted("a word that is none of the profile's", request(nonce="digest-7f3c9a51d20e1a"), body="unsaid"),
    ]


def refused_vectors() -> list[Json]:
    """What every verifier has to refuse."""
    return [
        *_bad_headers(),
        *_bad_chosen_headers(),
        *_bad_targets(),
        *_bad_claims(),
        *_bad_signatures(),
        *_bad_identities(),
        *_bad_bodies(),
    ]


def _bad_chosen_headers() -> list[Json]:
    """Headers whose names are not of the profile, but covered by the signature."""
    made = request(headers=(*ALICE, *CHOSEN))
    many = tuple((f"x-note-{number}", "a") for number in range(9))
    ahead = request(headers=(*ID, *CHOSEN, ("x-user-id", "alice")))
    return [
        refused("a chosen header that is gone", without(made, "remote-email"), "covered_absent"),
        refused("a chosen header twice", with_field(made, "X-Forwarded-User", "bob"), "duplicate_header"),
        refused("a chosen header in disguise", with_field(made, "X_Forwarded_User", "bob"), "disguised_header"),
        refused("another value in a chosen header", changed(made, "x-forwarded-user", "bob"), "bad_signature"),
        refused("a chosen header on two lines", changed(made, "x-forwarded-user", "al\nice"), "malformed"),
        refused("a chosen header before those of the user", ahead, "malformed", "signature-input"),
        refused("nine chosen headers", request(headers=(*ALICE, *many)), "malformed", "signature-input"),
        refused(
            "a chosen name that is one of the profile's but for its separators",
            request(headers=(*ID, ("xuserid", "alice"))),
            "disguised_header",
            "x-user-id",
        ),
    ]


def _bad_headers() -> list[Json]:
    covered = request(method="POST", digest_of=BODY)
    spellings = ("x_user_id", "X_User_Id", "x.user.id", "x--user-id", "x-user-id-", "xuserid", "x user id")
    values = ("alice\n", "ali\nce", " alice", "alice ", "alice\t", "Zo\u00eb", "a\x00")
    return [
        *(refused(f"no {name}", without(request(), name), "missing", name)
          for name in ("signature", "signature-input", "x-request-id")),
        *(refused(f"{name} twice", with_field(covered, name.upper(), value), "duplicate_header", name)
          for name, value in covered["headers"]),
        *(refused(f"in disguise: {name}", with_field(request(), name, "root"), "disguised_header", "x-user-id")
          for name in spellings),
        refused("in disguise: content_digest", with_field(request(), "content_digest", "x"), "disguised_header",
                "content-digest"),
        *(refused(f"a value that is not one line of ASCII: {value!a}", changed(request(), "x-user-id", value),
                  "malformed", "x-user-id") for value in values),
        *(refused(f"{name} added", with_field(request(headers=ID), name, "1"), "not_covered", name)
          for name in ("traceparent", "x-caller", "x-user-id", "x-user-roles", "x-auth-time")),
        *(refused(f"{name} lost", without(request(), name), "covered_absent", name)
          for name, _ in ALICE if name != "x-request-id"),
        refused("a digest added", with_field(request(), "content-digest", digest(BODY)), "not_covered",
                "content-digest"),
    ]  # fmt: skip


def _bad_targets() -> list[Json]:
    made = request()
    return [
        *(refused(f"another method: {method}", {**made, "method": method}, "bad_signature")
          for method in ("POST", "get", "GETS")),
        *(refused(f"another path: {path}", {**made, "path": path}, "bad_signature")
          for path in ("/orders/43", "/orders/42/", "/orders/%34%32", "/orders/42?page=2")),
        *(refused(f"another query: {query}", {**made, "query": query}, "bad_signature")
          for query in ("page=3", "", "page=2&", "page=%32", "?page=2")),
        *(refused(f"a malformed {name}: {value!a}", {**made, name: value}, "malformed", f"@{name}")
          for name, value in (("method", ""), ("method", "GET\n"), ("path", ""), ("path", "/orders/42 "),
                              ("path", "/\u00e9"), ("path", '/orders/42\n"@query": ?page=2'), ("query", "page=2\n"),
                              ("query", "\x00"))),
    ]  # fmt: skip


def _bad_claims() -> list[Json]:
    """Each with a right signature over the altered claim."""
    made = request(headers=ID)
    assert made["headers"][-2][0] == "signature-input"
    altered = (
        ("expires=1767225610", "expires=1767225661", "lifetime", ""),
        ("expires=1767225610", "expires=1767225600", "lifetime", ""),
        ("expires=1767225610", "expires=1767225599", "lifetime", ""),
        ("lockgate-identity", "other-purpose", "wrong_tag", ""),
        (GATEWAY_TO_ORDERS.key_id, "gateway.orders.ffffffff", "unknown_key", ""),
        (' "x-request-id"', "", "not_covered", "x-request-id"),
        ('"@method" ', "", "not_covered", "@method"),
        (' "@query"', "", "not_covered", "@query"),
        ('"x-request-id"', '"x-request-id" "x-user-id"', "covered_absent", "x-user-id"),
        ('"x-request-id"', '"x-request-id" "content-digest"', "covered_absent", "content-digest"),
        *(
            (old, new, "malformed", "signature-input")
            for old, new in (
                ('"x-request-id"', '"x-request-id" "host"'),
                ('"x-request-id"', '"x-request-id" "x-request-id"'),
                ('"@method" "@path"', '"@path" "@method"'),
                ('"@query"', '"@query";req'),
                ('"x-request-id"', '"X-Request-Id"'),
                (";created=1767225600", ""),
                (";created=1767225600", ";created=01767225600"),
                (";created=1767225600", ";created=1767225600.0"),
                (";created=1767225600", ";created=-1"),
                (";created=1767225600", ";created=1767225600000"),
                (";expires=1767225610", ""),
                (";expires", ";expires=1;expires"),
                (";tag", ';alg="none";tag'),
                (";nonce", "; nonce"),
                ("none-7f3c9a51d20e1a", "short"),
                ("lockgate=", "other="),
                ("lockgate=", "Lockgate="),
                ('tag="lockgate-identity"', 'tag="lockgate-identity", b=()'),
                ('tag="lockgate-identity"', "tag=lockgate-identity"),
            )
        ),
    )
    return [
        refused(f"the claim has {new!a} in place of {old!a}", request(headers=ID, claim=(old, new)), reason, about)
        for old, new, reason, about in altered
    ]


def _bad_signatures() -> list[Json]:
    made = request()
    right = dict(made["headers"])["signature"]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    respelled = f"{right[:-3]}{letters[letters.index(right[-3]) ^ 1]}{right[-2:]}"
    forms = ("", "lockgate=::", "lockgate=:AAAA:", f"lockgate=:{'A' * 43}:", f"lockgate=:{'A' * 44}:",
             f"other=:{'A' * 43}=:", f"lockgate=:{'_' * 43}=:", f"{right}, b=:AA==:", f"{right};x")  # fmt: skip
    other = dict(request(headers=ID)["headers"])
    return [
        refused("the key of the link to another service", request(key=ORDERS_TO_PRODUCTS), "unknown_key"),
        refused("a secret that is not the key's", request(secret=bytes(32)), "bad_signature"),
        refused("the secret of another link", request(secret=USERS_TO_ORDERS.secret), "bad_signature"),
        refused("the second spelling of a right signature", changed(made, "signature", respelled), "bad_signature"),
        refused("the signature of another request", changed(made, "signature", other["signature"]), "bad_signature"),
        *(refused(f"a signature of another form: {form}", changed(made, "signature", form), "malformed", "signature")
          for form in forms),
        *(refused(f"{-after} s before it was signed", at(made, after), "not_yet_valid") for after in (-10.1, -3600)),
        *(refused(f"{after} s after it was signed", at(made, after), "expired") for after in (20, 3600)),
    ]  # fmt: skip


def _bad_identities() -> list[Json]:
    """Rightly signed by a key of the link, and still no identity."""
    user = (*ID, ("x-user-id", "alice"))
    cases: tuple[tuple[str, Headers, str], ...] = (
        ("an empty request id", (("x-request-id", ""),), "x-request-id"),
        ("a request id with a space", (("x-request-id", "a b"),), "x-request-id"),
        ("a request id of 257 characters", (("x-request-id", "r" * 257),), "x-request-id"),
        ("an empty user", (*ID, ("x-user-id", "")), "x-user-id"),
        ("a user with a bare space", (*ID, ("x-user-id", "a b")), "x-user-id"),
        ("a needless escape", (*ID, ("x-user-id", "%61lice")), "x-user-id"),
        ("a lower-case escape", (*ID, ("x-user-id", "Zo%c3%ab")), "x-user-id"),
        ("half an escape", (*ID, ("x-user-id", "alice%2")), "x-user-id"),
        ("an escape that is not UTF-8", (*ID, ("x-user-id", "%FF")), "x-user-id"),
        ("a surrogate", (*ID, ("x-user-id", "%ED%A0%80")), "x-user-id"),
        ("an overlong escape", (*ID, ("x-user-id", "%C0%AF")), "x-user-id"),
        ("two spaces between roles", (*user, ("x-user-roles", "a  b")), "x-user-roles"),
        ("a comma between scopes", (*user, ("x-user-scopes", "a,b")), "x-user-scopes"),
        ("a negative time", (*user, ("x-auth-time", "-1")), "x-auth-time"),
        ("a time with a zero in front", (*user, ("x-auth-time", "01")), "x-auth-time"),
        ("a time of 16 digits", (*user, ("x-auth-time", "1" * 16)), "x-auth-time"),
        ("roles without a user", (*ID, ("x-user-roles", "admin")), "x-user-id"),
        ("empty scopes without a user", (*ID, ("x-user-scopes", "")), "x-user-id"),
        ("a session without a user", (*ID, ("x-session-id", "s-1")), "x-user-id"),
        ("another service's name", (*ID, ("x-caller", "users")), "x-caller"),
    )
    return [refused(name, request(headers=headers), "bad_identity", about) for name, headers, about in cases]


def _bad_bodies() -> list[Json]:
    about = "content-digest"
    covered = request(method="POST", digest_of=BODY)
    forms = ("", "sha-256=:AAAA:", "sha-512=:AAAA:", f"{digest(BODY)}, md5=:AA==:", digest(BODY).upper())
    return [
        refused("another body", carrying(covered, b'{"sku": "table"}'), "body_mismatch", about),
        refused("a covered body that got lost", carrying(covered, b""), "body_mismatch", about),
        refused("a covered body that is too long", carrying(request(method="POST", digest_of=LONG), LONG),
                "body_too_large", about),
        *(refused(f"a body after the word {nonce}", carrying(request(nonce=f"{nonce}7f3c9a51d20e1a"), b"x"),
                  "not_covered", about) for nonce in ("none-", "unseen-", "", "digest-")),
        *(refused(f"a digest of another form: {form}", changed(covered, about, form), "malformed", about)
          for form in forms),
    ]  # fmt: skip


def document() -> Json:
    """The whole file."""
    keys = [
        {
            "id": key.key_id,
            "origin": key.origin,
            "target": key.target,
            "secret": base64.urlsafe_b64encode(key.secret).rstrip(b"=").decode(),
        }
        for key in KEYS
    ]
    vectors = [*accepted_vectors(), *refused_vectors()]
    return {"me": ME, "now": NOW, "leeway_s": 10, "keys": keys, "vectors": vectors}


def as_text(content: Json) -> str:
    """The file: a line for each vector."""
    *rest, (_, vectors) = content.items()
    head = "".join(f"  {json.dumps(name)}: {json.dumps(value)},\n" for name, value in rest)
    lines = ",\n".join(f"    {json.dumps(vector)}" for vector in vectors)
    return f'{{\n{head}  "vectors": [\n{lines}\n  ]\n}}\n'


if __name__ == "__main__":
    FILE.write_text(as_text(document()))
