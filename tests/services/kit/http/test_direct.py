"""Which routes can be served without the framework; that they respond alike is shown in `users/test_lookups`."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import PlainTextResponse

from lockgate_shop.kit.http.api import Body, ResponseBody
from lockgate_shop.kit.http.direct import DirectCalls


class Said(Body):
    word: str


class Heard(ResponseBody):
    word: str


async def find_word(request: Request) -> str:
    return request.method


async def find_more(word: Annotated[str, Depends(find_word)]) -> str:
    return word


async def with_path(word: str) -> Heard:
    return Heard(word=word)


async def with_body(body: Said, found: Annotated[str, Depends(find_word)]) -> Heard:
    return Heard(word=body.word + found)


async def with_number(word: int) -> Heard:
    return Heard(word=str(word))


async def with_query(word: Annotated[str, Query()]) -> Heard:
    return Heard(word=word)


async def with_header(word: Annotated[str, Header()]) -> Heard:
    return Heard(word=word)


async def with_list(body: list[str]) -> Heard:
    return Heard(word="".join(body))


async def with_deep_dependency(found: Annotated[str, Depends(find_more)]) -> Heard:
    return Heard(word=found)


async def without_a_model() -> dict[str, str]:
    return {}


async def with_a_response() -> PlainTextResponse:
    return PlainTextResponse()


async def routes(*_: object) -> None:
    raise AssertionError("the framework was asked")


def direct(path: str, endpoint: Any, **options: Any) -> DirectCalls:  # noqa: ANN401 - as the framework has it
    router = APIRouter()
    router.add_api_route(path, endpoint, methods=["POST"], **options)
    return DirectCalls(routes, [router], [endpoint])


@pytest.mark.parametrize(("path", "endpoint"), [("/x/{word}", with_path), ("/x", with_body)])
def test_texts_of_the_path_and_a_model_can_be_given_directly(path: str, endpoint: object) -> None:
    assert direct(path, endpoint)


@pytest.mark.parametrize(
    ("path", "endpoint", "options"),
    [
        ("/x/{word}", with_number, {}),
        ("/x/{word:path}", with_path, {}),
        ("/x/{word:int}", with_path, {}),
        ("/x", with_query, {}),
        ("/x", with_header, {}),
        ("/x", with_list, {}),
        ("/x", with_deep_dependency, {}),
        ("/x", without_a_model, {}),
        ("/x", with_a_response, {}),
        ("/x/{word}", with_path, {"status_code": 201}),
        ("/x/{word}", with_path, {"dependencies": [Depends(find_word)]}),
        ("/x/{word}", with_path, {"response_model_exclude_none": True}),
    ],
)
def test_whatever_else_a_route_says_keeps_the_service_from_starting(
    path: str, endpoint: object, options: dict[str, object]
) -> None:
    with pytest.raises(RuntimeError, match="directly"):
        direct(path, endpoint, **options)


def test_an_endpoint_without_a_route_keeps_the_service_from_starting() -> None:
    with pytest.raises(RuntimeError, match="with_path"):
        DirectCalls(routes, [APIRouter()], [with_path])


def test_a_route_that_hides_another_keeps_the_service_from_starting() -> None:
    router = APIRouter()
    router.add_api_route("/x/{word}", with_number, methods=["POST"])
    router.add_api_route("/x/{word}", with_path, methods=["POST"])
    with pytest.raises(RuntimeError, match="with_path"):
        DirectCalls(routes, [router], [with_path])
