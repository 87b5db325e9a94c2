"""A real browser, and pages on origins of their own for it to visit."""

from __future__ import annotations

import contextlib
import shutil
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import BrowserContext

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_PAGE = b"<!doctype html><title>A page</title>"


@contextlib.contextmanager
def browsing(*, any_certificate: bool = False) -> Iterator[BrowserContext]:
    """A browser without history.

    Args:
        any_certificate: whether it opens pages whose certificate it cannot check.
    """
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("there is no Chromium")
    with sync_playwright() as playwright:
        # Tests may run as root, which gets no sandbox; the pages are the test's own.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        with (
            contextlib.closing(browser),
            contextlib.closing(browser.new_context(ignore_https_errors=any_certificate)) as context,
        ):
            yield context


@contextlib.contextmanager
def pages() -> Iterator[int]:
    """An empty page at every path of a port of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            serving.join()


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(_PAGE)))
        self.end_headers()
        self.wfile.write(_PAGE)

    def log_message(self, *_: object) -> None:
        """Say nothing: the test does."""
