"""What holds for every request, not for the chosen examples only."""

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from lockgate_trust import Caller, SignatureRefused, token_headers
from lockgate_trust.headers import CONTENT_DIGEST, REQUEST_ID, SIGNATURE, SIGNATURE_INPUT, TRACEPARENT
from tests.support.links import GATEWAY_TO_ORDERS, NOW, Received, accepted, signed

VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
WORDS = st.frozensets(TEXT, max_size=4)
LINE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30).filter(
    lambda text: text == text.strip()
)

CALLERS = st.builds(
    Caller,
    request_id=st.text(VISIBLE, min_size=1, max_size=64),
    service=st.just("gateway"),
    user_id=TEXT,
    roles=WORDS,
    scopes=WORDS,
    session_id=st.none() | TEXT,
    token_id=st.none() | TEXT,
    auth_time=st.none() | st.integers(0, 10**15 - 1),
    traceparent=st.none() | st.text(VISIBLE, min_size=1, max_size=64),
)
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"])
PATHS = st.text(VISIBLE, max_size=40).map(lambda text: f"/{text}")
QUERIES = st.text(VISIBLE, max_size=40)
BODIES = st.binary(max_size=200)


def headers_of(caller: Caller) -> tuple[tuple[str, str], ...]:
    trace = () if caller.traceparent is None else ((TRACEPARENT, caller.traceparent),)
    return (
        (REQUEST_ID, caller.request_id),
        *trace,
        *token_headers(
            user_id=caller.user_id,
            roles=caller.roles,
            scopes=caller.scopes,
            session_id=caller.session_id,
            token_id=caller.token_id,
            auth_time=caller.auth_time,
        ),
    )


@st.composite
def requests(draw: st.DrawFn) -> tuple[Caller, Received]:
    caller = draw(CALLERS)
    request = signed(
        key=GATEWAY_TO_ORDERS,
        method=draw(METHODS),
        path=draw(PATHS),
        query=draw(QUERIES),
        headers=headers_of(caller),
        body=draw(BODIES),
    )
    return caller, request


@given(requests())
def test_what_is_signed_is_verified_and_the_caller_comes_back_whole(made: tuple[Caller, Received]) -> None:
    caller, request = made
    assert accepted(request.verified()).caller == caller


@given(requests(), METHODS, PATHS, QUERIES)
def test_no_signature_fits_another_target(made: tuple[Caller, Received], method: str, path: str, query: str) -> None:
    _, request = made
    moved = replace(request, method=method, path=path, query=query)
    assume(moved != request)
    assert isinstance(moved.verified(), SignatureRefused)


@given(requests(), st.data())
def test_no_covered_header_can_be_changed(made: tuple[Caller, Received], data: st.DataObject) -> None:
    _, request = made
    name = data.draw(st.sampled_from([name for name, _ in request.headers if name != "host"]))
    altered = request.altered(name, lambda _: data.draw(LINE))
    assume(altered != request)
    assert isinstance(altered.verified(), SignatureRefused)


@given(requests(), st.data())
def test_no_covered_header_can_be_taken_away_or_doubled(made: tuple[Caller, Received], data: st.DataObject) -> None:
    _, request = made
    name = data.draw(st.sampled_from([name for name, _ in request.headers if name != "host"]))
    assert isinstance(request.without(name).verified(), SignatureRefused)
    assert isinstance(request.plus(name, data.draw(LINE)).verified(), SignatureRefused)


@given(requests(), st.sampled_from([SIGNATURE, SIGNATURE_INPUT, CONTENT_DIGEST]), st.data())
def test_no_single_character_of_the_signature_can_be_changed(
    made: tuple[Caller, Received], name: str, data: st.DataObject
) -> None:
    _, request = made
    assume(name in dict(request.headers))
    value = request.value(name)
    at = data.draw(st.integers(0, len(value) - 1))
    changed = value[:at] + data.draw(st.characters(max_codepoint=0xFF)) + value[at + 1 :]
    assume(changed != value)
    assert isinstance(request.altered(name, lambda _: changed).verified(), SignatureRefused)


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=60)), max_size=6), st.text(max_size=20))
def test_no_bytes_whatever_make_verification_fail_with_an_exception(headers: list[tuple[str, str]], text: str) -> None:
    assert isinstance(Received(text, text, text, tuple(headers)).verified(), SignatureRefused)


@given(requests(), st.floats(allow_nan=True, allow_infinity=True))
def test_no_clock_accepts_a_signature_outside_its_window(made: tuple[Caller, Received], now: float) -> None:
    _, request = made
    outcome = request.verified(now=now)
    assert isinstance(outcome, SignatureRefused) or NOW - 5 <= now < NOW + 10
