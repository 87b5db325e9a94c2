from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import httpx
import pytest

from lockgate.cli.devstack import data_folder, object_server
from lockgate.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import Stack

PICTURE = b"\x89PNG and so on"


def test_the_keys_are_made_once_and_only_their_owner_can_read_them(tmp_path: Path) -> None:
    with data_folder.open_folder(tmp_path) as folder:
        first, again = (object_server.server_child(folder, 1, env={}) for _ in range(2))
    assert first.env == again.env
    assert len(first.env["NANIO_SECRET_KEY"]) >= 32
    assert stat.S_IMODE((tmp_path / "objects.keys").stat().st_mode) == 0o600
    with data_folder.open_folder(tmp_path / "other") as folder:
        assert object_server.server_child(folder, 1, env={}).env["NANIO_SECRET_KEY"] != first.env["NANIO_SECRET_KEY"]


@pytest.mark.parametrize("content", ["", "{}", "[1", '"x"', "[]"])
def test_a_damaged_key_file_is_made_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "objects.keys").write_text(content)
    with data_folder.open_folder(tmp_path) as folder:
        assert object_server.server_child(folder, 1, env={}).env["NANIO_ACCESS_KEY"]
    assert stat.S_IMODE((tmp_path / "objects.keys").stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "objects").write_text("in the way")
    with data_folder.open_folder(tmp_path) as folder, pytest.raises(ConfigurationError, match="cannot be written"):
        object_server.server_child(folder, 1, env={})


def test_a_service_that_has_a_bucket_keeps_it_and_the_others_get_one_each(tmp_path: Path) -> None:
    env = {"USERS_S3_BUCKET": "mine"}
    with data_folder.open_folder(tmp_path) as folder:
        told = object_server.service_environment(object_server.server_child(folder, 7, env=env), 7, env)
    assert not any(name.startswith("USERS_") for name in told)
    assert (told["ORDERS_S3_BUCKET"], told["PRODUCTS_S3_BUCKET"]) == ("orders", "products")
    assert told["ORDERS_S3_ENDPOINT"] == "http://127.0.0.1:7"


@pytest.mark.stack
def test_a_newcomer_shows_a_picture_of_themselves(stack: Stack) -> None:
    with httpx.Client(base_url=stack.url, trust_env=False) as http:
        login = {"username": "bob", "password": "correct-horse-battery"}
        token = http.post("/auth/login", json=login).json()["access_token"]
        bearer = {"Authorization": f"Bearer {token}"}
        wanted = {"purpose": "avatar", "content_type": "image/png", "size": len(PICTURE)}
        upload = http.post("/users/me/uploads", json=wanted, headers=bearer).json()
        stored = httpx.put(
            upload["put"]["url"], content=PICTURE, headers={"Content-Type": "image/png"}, trust_env=False
        )
        assert stored.status_code == 200
        assert http.post(f"/users/me/uploads/{upload['id']}/confirm", headers=bearer).status_code == 200
        avatar = http.get("/users/me", headers=bearer).json()["avatar"]
        shown = http.get(avatar, headers=bearer)
        assert shown.status_code == 302
        assert httpx.get(shown.headers["location"], trust_env=False).content == PICTURE
