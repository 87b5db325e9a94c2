"""Calls that the edge answers itself: each is described once, for the edge and for `/openapi.json`.

FastAPI answers all other calls. Both kinds pass the same stages (`endpoints.dependencies`), read bodies by the same
rules (`endpoints.bodies`) and refuse with the same problems (`endpoints.problems`). A
call belongs here only where FastAPI's share of its cost counts: docs/decisions/0180.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from lockgate.edge.asgi import AsgiApp, respond_by_application
from lockgate.edge.own_call import OwnCall, Reply, Respond
from lockgate.endpoints.dependencies import Stage
from lockgate.endpoints.problems import DESCRIBED, problem_reply, refusal_of
from lockgate.errors import Reason, Refusal

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EdgeCall:
    """A call that the edge answers itself.

    Attributes:
        path: its path.
        methods: what it can be called with, as `Allow` lists them; OPTIONS is not listed.
        respond: makes the reply; its name and docstring describe the call.
        tag: the group of the call in the description.
        stages: what the call passes first, in this order.
        body: what `bodies.document_body` says of the body; empty without one.
        has_content: whether a response that is no refusal has JSON in it.
    """

    path: str
    methods: tuple[str, ...]
    respond: Respond
    tag: str
    stages: tuple[Stage, ...] = ()
    body: Mapping[str, Any] = field(default_factory=dict)
    has_content: bool = True

    @property
    def described(self) -> Document:
        """The call by its first method, as FastAPI describes its own calls: the item of its path in OpenAPI."""
        name, method = self.respond.__name__, self.methods[0].lower()
        served: Document = {"description": "Successful Response"}
        if self.has_content:
            served["content"] = {"application/json": {"schema": {}}}
        operation = {
            "tags": [self.tag],
            "summary": name.replace("_", " ").title(),
            "description": inspect.getdoc(self.respond),
            "operationId": re.sub(r"\W", "_", f"{name}{self.path}_{method}"),
            "responses": {"200": served, **DESCRIBED},
            **self.body,
        }
        return {method: operation}


class OwnCalls:
    """Finds what answers a call to the gateway itself.

    Args:
        calls: that the edge answers itself.
        build_application: makes what answers all others. It is called once, at `prepare` or for the first such call.
    """

    def __init__(self, calls: Sequence[EdgeCall], build_application: Callable[[], AsgiApp]) -> None:
        self._by_path = {call.path: call for call in calls}
        self._build_application = build_application

    def prepare(self) -> None:
        """Make the application now, so that no client waits for it."""
        _ = self._by_application

    @cached_property
    def _by_application(self) -> Respond:
        return respond_by_application(self._build_application())

    def find(self, method: str, path: str) -> Respond:
        """What answers this method of this path."""
        call = self._by_path.get(path)
        if call is None:
            return self._by_application
        if method not in call.methods:
            return partial(_refuse_method, call)
        return partial(_pass_stages, call) if call.stages else call.respond


async def _pass_stages(call: EdgeCall, made: OwnCall) -> Reply:
    try:
        for stage in call.stages:
            await stage(made.request)
        reply = call.respond(made)
        return reply if isinstance(reply, Reply) else await reply
    except Exception as error:  # noqa: BLE001 - what is no refusal is raised again
        return problem_reply(made.request, refusal_of(error))


def _refuse_method(call: EdgeCall, made: OwnCall) -> Reply:
    allow = ("Allow", ", ".join(method for method in call.methods if method != "OPTIONS"))
    return problem_reply(made.request, Refusal(Reason.METHOD_NOT_ALLOWED, headers=(allow,)))
