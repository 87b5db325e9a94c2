"""The meaning of a Content-Type, in every spelling (RFC 9110 section 8.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.edge.media_type import parse_media_type
from tests.support.charsets import NOT_UTF_8, UTF_8

ALL = '; ="\\charset*utf-87xy\t'


@pytest.mark.parametrize("parameters", UTF_8)
def test_text_is_utf_8_in_every_spelling_of_it(parameters: str) -> None:
    """R-206"""
    assert parse_media_type(f" Application/JSON{parameters}") == ("application/json", True)


@pytest.mark.parametrize("parameters", NOT_UTF_8)
def test_another_charset_two_of_them_and_what_cannot_be_read_are_not_utf_8(parameters: str) -> None:
    """R-105"""
    assert parse_media_type(f"application/json{parameters}") == ("application/json", False)


@given(st.text(ALL, max_size=60))
def test_every_field_is_read_to_its_end(parameters: str) -> None:
    """R-105: and no charset but UTF-8 is overlooked where the name stands in plain sight."""
    assert not parse_media_type(f"a/b{parameters};charset=utf-7").is_utf8 or parameters.count('"') > 0
