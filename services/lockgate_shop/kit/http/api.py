"""What the request and response models of all services have in common."""

from typing import Annotated, TypeVar

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from starlette.requests import HTTPConnection

from lockgate_shop.kit.data.paging import DEFAULT_LIMIT, MAX_CURSOR, MAX_LIMIT

T = TypeVar("T")


class Body(BaseModel):
    """A JSON body: nothing in it that was not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ResponseBody(BaseModel):
    """The JSON body of a response."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("control characters")
    return text


Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_one_line)]
"""Text for people on one line, without control characters."""

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Cursor = Annotated[str | None, Query(max_length=MAX_CURSOR)]
DEFAULT_PAGE = DEFAULT_LIMIT


def from_state(kind: type[T], name: str, request: HTTPConnection) -> T:
    """What the composition root put on `app.state` under `name`."""
    found = getattr(request.app.state, name)
    if not isinstance(found, kind):
        raise RuntimeError(f"app.state.{name} is not what it should be")  # noqa: TRY004 - our own mistake, not an input
    return found
