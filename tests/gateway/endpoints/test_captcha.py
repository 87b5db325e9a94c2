"""Captchas to see and to hear."""

from __future__ import annotations

import asyncio
import io
import wave

from PIL import Image
from redis.asyncio import Redis

from lockgate.endpoints.captcha import ALLOWANCE, COST
from tests.support import shop as shops
from tests.support.shop import Shop, code
from tests.support.store import time_passes_at


async def test_a_captcha_can_be_seen_and_heard_and_is_kept_nowhere(shop: Shop) -> None:
    answer = await shop.http.get("/auth/captcha")
    content = answer.json()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert content == {
        "id": content["id"],
        "image": f"/auth/captcha/{content['id']}.png",
        "audio": f"/auth/captcha/{content['id']}.wav",
        "expires_in": 300,
    }
    picture, sound = await shop.http.get(content["image"]), await shop.http.get(content["audio"])
    for drawn, media in ((picture, "image/png"), (sound, "audio/wav")):
        assert (drawn.status_code, drawn.headers["content-type"]) == (200, media)
        assert drawn.headers["cache-control"] == "no-store"
    with Image.open(io.BytesIO(picture.content)) as image:
        assert (image.format, image.size) == ("PNG", (240, 80))
    with wave.open(io.BytesIO(sound.content)) as audio:
        assert audio.getnframes() / audio.getframerate() > 2


async def test_any_node_draws_the_captcha_of_another(shop: Shop) -> None:
    content = (await shop.http.get("/auth/captcha")).json()
    async with shops.another_node(shop) as http:
        assert (await http.get(content["image"])).status_code == 200


async def test_what_nobody_made_and_what_was_used_is_not_drawn(shop: Shop) -> None:
    content = (await shop.http.get("/auth/captcha")).json()
    await shop.login("alice", captcha={"id": content["id"], "answer": "000000"})
    for path in (content["image"], content["audio"], "/auth/captcha/AAAAAAAAAAAAAAAAAAAAAA.png", "/auth/captcha/x.wav"):
        assert code(await shop.http.get(path)) == (404, "not_found")


async def test_drawing_is_rationed_for_each_address(shop: Shop, redis: Redis) -> None:
    assert (await shop.http.get("/auth/captcha")).status_code == 200
    (bucket,) = await redis.keys("lg:allowance:captcha:*")
    assert await redis.hget(bucket, "level") == str(COST["new"]).encode()
    await redis.hset(bucket, "level", ALLOWANCE)
    answer = await shop.http.get("/auth/captcha")
    assert code(answer) == (429, "rate_limited")
    assert answer.headers["ratelimit"] == f'"captcha";r=0;t={answer.headers["retry-after"]}'
    await time_passes_at(redis, int(answer.headers["retry-after"]))
    assert (await shop.http.get("/auth/captcha")).status_code == 200


async def test_while_a_captcha_is_read_out_other_calls_are_answered(shop: Shop) -> None:
    content = (await shop.http.get("/auth/captcha")).json()
    drawing = asyncio.create_task(shop.http.get(content["audio"]))
    answered = 0
    while not drawing.done():
        assert (await shop.http.get("/healthz")).status_code == 200
        answered += 1
    assert (await drawing).status_code == 200
    assert answered > 10, "the event loop was held up"


async def test_without_redis_there_is_no_captcha(shop: Shop, redis: Redis) -> None:
    await redis.set("lg:allowance:captcha:127.0.0.1", "not a hash")
    assert code(await shop.http.get("/auth/captcha")) == (503, "store_unavailable")
