"""A wiki as there are many: it knows nothing of Lockgate, and believes a proxy's `X-Forwarded-User`.

It keeps its pages in memory, builds absolute links from `Host`, and has a cookie of its own.
"""

# ruff: noqa: INP001 - a file to copy, in no package

import html
import re
import sys
from collections.abc import Callable, Iterable
from http.cookies import SimpleCookie
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]

PAGES = {"Home": "Welcome. Try the Sandbox."}
PAGE = re.compile(r"/(?P<name>[A-Z][A-Za-z0-9]*)(?P<edit>/edit)?")
LINK = re.compile(r"\b(Home|Sandbox)\b")
STYLE = "body{font:16px/1.5 sans-serif;max-width:40em;margin:2em auto}textarea{width:100%;height:8em}"


def wiki(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The whole application."""
    if environ["PATH_INFO"] == "/":
        return redirect(environ, start_response, "/Home")
    found = PAGE.fullmatch(environ["PATH_INFO"])
    if found is None:
        return respond(start_response, "404 Not Found", show(environ, "No such page", ""))
    name, user = found["name"], environ.get("HTTP_X_FORWARDED_USER")
    if environ["REQUEST_METHOD"] == "POST":
        if user is None:
            return respond(start_response, "403 Forbidden", show(environ, "Log in first", ""))
        fields = parse_qs(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0)).decode())
        PAGES[name] = fields.get("text", [""])[0]
        return redirect(environ, start_response, f"/{name}", ("Set-Cookie", "saved=1; Path=/; HttpOnly"))
    text = html.escape(PAGES.get(name, ""))
    if found["edit"]:
        form = (
            f'<form method="post" action="/{name}"><textarea name="text">{text}</textarea><button>Save</button></form>'
        )
        return respond(start_response, "200 OK", show(environ, f"Edit {name}", form))
    saved = "saved" in SimpleCookie(environ.get("HTTP_COOKIE", ""))
    linked = LINK.sub(rf'<a href="{base(environ)}/\1">\1</a>', text)
    body = f'{"<p id=saved>Saved.</p>" if saved else ""}<p id="text">{linked}</p><a href="/{name}/edit">Edit</a>'
    forget = [("Set-Cookie", "saved=; Path=/; Max-Age=0")] if saved else []
    return respond(start_response, "200 OK", show(environ, name, body), *forget)


def base(environ: Environ) -> str:
    """The address that the browser uses, as the proxy tells it."""
    return f"{environ.get('HTTP_X_FORWARDED_PROTO', 'http')}://{environ['HTTP_HOST']}"


def show(environ: Environ, title: str, body: str) -> str:
    """A page with a greeting."""
    user = environ.get("HTTP_X_FORWARDED_USER")
    hello = f"Hello, {html.escape(user)}" if user else 'Hello, guest. <a href="/login/">Log in</a>'
    head = f'<!doctype html><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return f'{head}<p id="hello">{hello}</p><h1>{title}</h1>{body}'


def respond(start_response: StartResponse, status: str, page: str, *headers: tuple[str, str]) -> list[bytes]:
    """A page as a response."""
    body = page.encode()
    kind, length = ("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))
    start_response(status, [kind, length, *headers])
    return [body]


def redirect(environ: Environ, start_response: StartResponse, path: str, *headers: tuple[str, str]) -> list[bytes]:
    """A redirect to an absolute address."""
    start_response("303 See Other", [("Location", base(environ) + path), ("Content-Length", "0"), *headers])
    return []


class Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection."""

    daemon_threads = True
    request_queue_size = 128


class Quiet(WSGIRequestHandler):
    """Without a line for each request."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    make_server("127.0.0.1", int(sys.argv[1]), wiki, Server, Quiet).serve_forever()
