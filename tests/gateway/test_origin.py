"""The entries of a list of origins: every origin that browsers send, in the spelling that they send (R-211)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lockgate.cli import configuration
from lockgate.errors import ConfigurationError
from lockgate.origin import normalize_origin, origin_of_url
from lockgate.settings import Settings

EXTENSION = "chrome-extension://abcdefghijklmnopabcdefghijklmnop"
ROUTE: dict[str, Any] = {"name": "orders", "prefix": "/orders", "upstreams": ["http://127.0.0.1:1"]}


@pytest.mark.parametrize(
    "origin",
    [
        "https://shop.example",
        "https://shop.example:8443",
        "http://localhost:5173",
        "http://127.0.0.1:3000",
        "http://[::1]:3000",
        "https://xn--bcher-kva.example",
        "https://a_b.example",
        "capacitor://localhost",
        "ionic://localhost",
        "ionic://",
        "tauri://localhost",
        "http://tauri.localhost",
        "app://-",
        "app://.",
        "app://obsidian.md",
        EXTENSION,
        "moz-extension://3c6bf0ba-9d2b-4b9c-9f42-d4b4ed2cbd63",
        "safari-web-extension://3C6BF0BA-9D2B-4B9C-9F42-D4B4ED2CBD63",
        "vscode-webview://0n8abc",
    ],
)
def test_every_origin_that_browsers_and_apps_send_can_be_listed(origin: str) -> None:
    """R-211: for the server and for a route, to the letter."""
    assert normalize_origin(origin) == origin
    settings = Settings(server={"allowed_origins": [origin]}, route=[{**ROUTE, "allowed_origins": [origin]}])  # type: ignore[arg-type]  # as in the file
    assert settings.server.allowed_origins == settings.route[0].allowed_origins == (origin,)


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://Shop.Example", "https://shop.example"),
        ("HTTPS://shop.example", "https://shop.example"),
        ("https://shop.example/", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://shop.example:80/", "http://shop.example"),
        ("http://shop.example:443", "http://shop.example:443"),
        ("https://shop.example:08443", "https://shop.example:8443"),
        ("http://[0:0:0:0:0:0:0:1]:3000", "http://[::1]:3000"),
        ("http://[::ABCD]", "http://[::abcd]"),
        ("capacitor://localhost/", "capacitor://localhost"),
        ("Tauri://localhost", "tauri://localhost"),
    ],
)
def test_another_spelling_of_an_origin_is_the_one_that_is_sent(written: str, sent: str) -> None:
    """R-211: otherwise it would be accepted and never match."""
    assert Settings(server={"allowed_origins": [written]}).server.allowed_origins == (sent,)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ("null", "list each origin"),
        ("*", "list each origin"),
        ("https://*.shop.example", "list each origin"),
        ("shop.example", "https://shop.example"),
        ("//shop.example", "https://shop.example"),
        ("localhost:5173", "https://localhost:5173"),
        ("https://shop.example/app", "https://shop.example"),
        ("https://shop.example//", "https://shop.example"),
        ("https://shop.example?x=1", "https://shop.example"),
        ("https://shop.example#top", "https://shop.example"),
        ("https://user:pw@shop.example", "https://shop.example"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://shop.example, https://b.example", "it would be"),
        ("https://shop.example\r\nX: y", "it would be"),
        ("https://shop.example ", "it would be"),
        ("wss://shop.example", "https://shop.example"),
        ("ws://shop.example:81/x", "http://shop.example:81"),
        ("file://", "over https"),
        ("file:///index.html", "over https"),
        ("data://x", "over https"),
        ("https://", "https://<host>"),
        ("https://:443", "https://<host>"),
        ("https://shop.example:0", "no such port"),
        ("https://shop.example:70000", "no such port"),
        ("http://[::g]", "http://[::g]"),
        ("http://[1:2]", "no valid IPv6"),
        ("", "https://<host>"),
    ],
)
@pytest.mark.parametrize("place", ["server", "route"])
def test_what_can_never_match_is_refused_with_what_would_be_right(written: str, right: str, place: str) -> None:
    """R-211: by words, and not by a regular expression."""
    content: dict[str, Any] = {"allowed_origins": [written]}
    with pytest.raises(ValidationError) as refused:
        Settings(**({"server": content} if place == "server" else {"route": [{**ROUTE, **content}]}))
    message = refused.value.errors()[0]["msg"]
    assert right in message
    assert "pattern '" not in message


def test_the_command_line_says_it_in_one_line(tmp_path: Path) -> None:
    """R-211."""
    file = tmp_path / "lockgate.toml"
    file.write_text('[server]\nallowed_origins = ["https://shop.example/app"]\n', encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"server.allowed_origins.0: .*would be https://shop\.example$"):
        configuration.load_configuration(file)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.example", "https://api.example"),
        ("https://API.example:443/tenant/a", "https://api.example"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_a_url_has_one_origin(url: str, origin: str) -> None:
    assert origin_of_url(url) == origin
