import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate_trust.headers import IDENTITY_HEADERS, decode_value, decode_words, encode_value, encode_words

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def test_the_covered_order_is_part_of_the_contract_and_fixed() -> None:
    assert IDENTITY_HEADERS == (
        "x-request-id",
        "traceparent",
        "x-caller",
        "x-user-id",
        "x-user-roles",
        "x-user-scopes",
        "x-session-id",
        "x-token-id",
        "x-auth-time",
    )


@pytest.mark.parametrize(
    "plain", ["alice", "0198c1a2-7f7e-7abc-8def-001122334466", "orders:read", "auth0|5f7c", "a@b.example", "", "~!*'()"]
)
def test_a_plain_value_stays_as_it_is(plain: str) -> None:
    assert encode_value(plain) == plain
    assert decode_value(plain) == plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Zoë", "Zo%C3%AB"),
        ("100%", "100%25"),
        ("a b", "a%20b"),
        ("a,b", "a%2Cb"),
        ("a\r\nx-user-roles: admin", "a%0D%0Ax-user-roles:%20admin"),
        ("\x00\x7f", "%00%7F"),
        ("🔒", "%F0%9F%94%92"),
    ],
)
def test_an_awkward_value_is_percent_encoded_and_comes_back(text: str, value: str) -> None:
    assert encode_value(text) == value
    assert decode_value(value) == text


@given(TEXT)
def test_every_text_comes_back_and_is_one_line_of_visible_ascii_on_the_way(text: str) -> None:
    value = encode_value(text)
    assert all("!" <= character <= "~" for character in value)
    assert decode_value(value) == text


@given(st.text(st.sampled_from("aZ%0123cCeEfF, é\n")))
def test_what_decodes_has_exactly_one_spelling(value: str) -> None:
    try:
        text = decode_value(value)
    except ValueError:
        return
    assert encode_value(text) == value


@pytest.mark.parametrize(
    "value", ["%61lice", "%c3%ab", "%", "%2", "%GG", "%C3", "a b", "a,b", "Zoë", "alice\n", "%ED%A0%80"]
)
def test_a_second_spelling_is_not_decoded(value: str) -> None:
    with pytest.raises(ValueError, match=r"value|decode"):
        decode_value(value)


def test_a_lone_surrogate_cannot_be_encoded() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        encode_value("a\ud800")


def test_words_are_sorted_and_separated_by_one_space() -> None:
    assert encode_words(frozenset({"orders:write", "orders:read", "a b"})) == "a%20b orders:read orders:write"


@given(st.frozensets(TEXT.filter(bool)))
def test_every_set_of_words_comes_back(words: frozenset[str]) -> None:
    assert decode_words(encode_words(words)) == words


@pytest.mark.parametrize("value", [" ", "a  b", " a", "a ", "a\tb", "a,b"])
def test_words_with_an_empty_one_or_another_separator_are_not_decoded(value: str) -> None:
    with pytest.raises(ValueError, match=r"role or scope|percent-encoded"):
        decode_words(value)


def test_an_empty_word_cannot_be_encoded() -> None:
    with pytest.raises(ValueError, match="empty"):
        encode_words(frozenset({""}))
