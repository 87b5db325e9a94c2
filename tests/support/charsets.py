"""Parameters of a Content-Type, by whether they say that the text is UTF-8."""

from __future__ import annotations

from typing import Final

UTF_8: Final = [
    "",
    ";",
    "; charset=utf-8",
    ";charset=UTF-8",
    '; charset="utf-8"',
    '; Charset="UTF-8"',
    "; charset=utf8",
    "; charset=us-ascii",
    " ; x=y; charset=utf-8",
    '; profile="a;charset=x"',
]
NOT_UTF_8: Final = [
    "; charset=utf-7",
    '; charset="utf-7"',
    "; CHARSET=UTF-7",
    "; charset=utf-16",
    "; charset=iso-8859-1",
    "; charset=utf-8; charset=utf-7",
    "; charset=utf-8; charset=utf-8",
    "; x=y; charset=utf-7",
    "; charset*=utf-8''utf-7",
    '; charset="utf-8',
    "; charset=",
    "; charset",
    "; charset =utf-8",
    '; x="y" charset=utf-7',
]
