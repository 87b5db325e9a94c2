import json
import pickle
from pathlib import Path

import pytest

from lockgate_trust import LinkKey, LinkKeyError, LinkKeys, create_link, link_path
from tests.support.links import GATEWAY_TO_ORDERS, ORDERS_KEYS, ORDERS_TO_PRODUCTS, USERS_TO_ORDERS

SECRET_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
OTHER_SECRET_TEXT = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA"
THIRD_SECRET_TEXT = "AgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICE"
LINK = {
    "origin": "gateway",
    "target": "orders",
    "keys": [{"id": "gateway.orders.3fa9c2d1", "secret": SECRET_TEXT}],
}


def write(directory: Path, document: object, name: str = "gateway--orders.json", mode: int = 0o600) -> Path:
    path = directory / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    path.chmod(mode)
    return path


def with_keys(*keys: object) -> dict[str, object]:
    return LINK | {"keys": list(keys)}


def test_the_repr_of_a_key_and_of_a_key_set_never_shows_a_secret() -> None:
    shown = f"{GATEWAY_TO_ORDERS!r} {ORDERS_KEYS!r}"
    assert "gateway" in shown
    assert "secret" not in shown
    assert repr(GATEWAY_TO_ORDERS.secret) not in shown


def test_a_key_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(GATEWAY_TO_ORDERS)) == GATEWAY_TO_ORDERS  # noqa: S301 - our own bytes


def test_a_secret_of_less_than_32_bytes_is_refused() -> None:
    with pytest.raises(LinkKeyError, match="fewer than 32 bytes"):
        LinkKey("k.1", "gateway", "orders", bytes(31))


@pytest.mark.parametrize("key_id", ["", "a b", 'a"b', "a\n", "é", "-a", "x" * 129])
def test_a_key_id_that_would_not_fit_the_signature_is_refused(key_id: str) -> None:
    with pytest.raises(LinkKeyError, match="key id"):
        LinkKey(key_id, "gateway", "orders", bytes(32))


@pytest.mark.parametrize("name", ["", "Orders", "a--b", "-a", "a-", "../a", "a/b", "a.b", "a*", "a\n", "x" * 64])
def test_a_name_that_could_leave_its_file_name_is_no_service_name(name: str) -> None:
    with pytest.raises(LinkKeyError, match="not a service name"):
        LinkKey("k.1", "gateway", name, bytes(32))
    with pytest.raises(LinkKeyError, match="not a service name"):
        link_path(".", name, "orders")
    with pytest.raises(LinkKeyError, match="not a service name"):
        LinkKeys.load(".", name)


def test_a_link_to_itself_is_refused() -> None:
    with pytest.raises(LinkKeyError, match="to itself"):
        LinkKey("k.1", "orders", "orders", bytes(32))


def test_keys_are_sorted_into_links_by_their_own_ends() -> None:
    assert ORDERS_KEYS.origins == {"gateway", "users"}
    assert ORDERS_KEYS.targets == {"products"}
    assert ORDERS_KEYS.outbound("products") is ORDERS_TO_PRODUCTS
    assert ORDERS_KEYS.inbound("gateway.orders.3fa9c2d1") is GATEWAY_TO_ORDERS


def test_a_key_that_signs_does_not_verify() -> None:
    assert ORDERS_KEYS.inbound(ORDERS_TO_PRODUCTS.key_id) is None


def test_there_is_no_key_for_a_link_that_does_not_exist() -> None:
    with pytest.raises(LinkKeyError, match="orders has no link to 'users'"):
        ORDERS_KEYS.outbound("users")


def test_a_key_of_others_is_refused() -> None:
    with pytest.raises(LinkKeyError, match="none of products's"):
        LinkKeys.from_keys("products", [GATEWAY_TO_ORDERS])


def test_a_key_under_the_wrong_link_is_refused() -> None:
    with pytest.raises(LinkKeyError, match="not of the link gateway--orders"):
        LinkKeys(me="orders", inbound={"gateway": [USERS_TO_ORDERS]})


def test_a_link_without_a_key_is_refused() -> None:
    with pytest.raises(LinkKeyError, match="has 0 keys"):
        LinkKeys(me="orders", inbound={"gateway": []})


def test_two_links_that_share_a_secret_are_refused() -> None:
    shared = LinkKey("users.orders.1", "users", "orders", GATEWAY_TO_ORDERS.secret)
    with pytest.raises(LinkKeyError, match="same secret"):
        LinkKeys.from_keys("orders", [GATEWAY_TO_ORDERS, shared])


def test_two_links_that_share_a_key_id_are_refused() -> None:
    shared = LinkKey(GATEWAY_TO_ORDERS.key_id, "users", "orders", USERS_TO_ORDERS.secret)
    with pytest.raises(LinkKeyError, match="same id"):
        LinkKeys.from_keys("orders", [GATEWAY_TO_ORDERS, shared])


def test_a_file_is_read_at_both_ends_of_its_link(tmp_path: Path) -> None:
    write(tmp_path, LINK)
    assert LinkKeys.load(tmp_path, "gateway").outbound("orders") == GATEWAY_TO_ORDERS
    assert LinkKeys.load(tmp_path, "orders").inbound("gateway.orders.3fa9c2d1") == GATEWAY_TO_ORDERS


def test_of_two_keys_the_first_signs_and_both_verify(tmp_path: Path) -> None:
    write(tmp_path, with_keys({"id": "k.new", "secret": OTHER_SECRET_TEXT}, {"id": "k.old", "secret": SECRET_TEXT}))
    assert LinkKeys.load(tmp_path, "gateway").outbound("orders").key_id == "k.new"
    orders = LinkKeys.load(tmp_path, "orders")
    assert orders.inbound("k.new") is not None
    assert orders.inbound("k.old") is not None


def test_the_files_of_other_links_are_not_even_opened(tmp_path: Path) -> None:
    write(tmp_path, LINK)
    write(tmp_path, "not json", "users--products.json", mode=0o644)
    assert LinkKeys.load(tmp_path, "orders").origins == {"gateway"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o666])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path, LINK, mode=mode)
    with pytest.raises(LinkKeyError, match="readable by others") as caught:
        LinkKeys.load(tmp_path, "orders")
    assert str(path) in str(caught.value)


def test_a_symbolic_link_is_judged_by_the_file_it_leads_to(tmp_path: Path) -> None:
    # Kubernetes mounts secrets as symbolic links.
    elsewhere = tmp_path / "data"
    elsewhere.mkdir()
    target = write(elsewhere, LINK)
    (tmp_path / "gateway--orders.json").symlink_to(target)
    assert LinkKeys.load(tmp_path, "orders").origins == {"gateway"}
    target.chmod(0o644)
    with pytest.raises(LinkKeyError, match="readable by others"):
        LinkKeys.load(tmp_path, "orders")


def test_a_directory_that_names_nobody_is_refused(tmp_path: Path) -> None:
    write(tmp_path, LINK)
    with pytest.raises(LinkKeyError, match=r"no link key file in .* names products"):
        LinkKeys.load(tmp_path, "products")
    with pytest.raises(LinkKeyError, match="no link key file"):
        LinkKeys.load(tmp_path / "absent", "orders")


def test_something_other_than_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gateway--orders.json").mkdir()
    with pytest.raises(LinkKeyError, match="cannot be read"):
        LinkKeys.load(tmp_path, "orders")


def test_a_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gateway--orders.json").symlink_to("/dev/zero")
    with pytest.raises(LinkKeyError, match="not a regular file"):
        LinkKeys.load(tmp_path, "orders")


def test_an_endless_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "x" * 5000)
    with pytest.raises(LinkKeyError, match="longer than 4096 bytes"):
        LinkKeys.load(tmp_path, "orders")


@pytest.mark.parametrize(
    "document",
    [
        "",
        f'{{"secret": "{SECRET_TEXT}"',
        "[" * 4000,
        "\udcff".encode("utf-8", "surrogateescape").decode("latin-1"),
        [],
        {},
        LINK | {"extra": 1},
        LINK | {"origin": "users"},
        LINK | {"target": "products"},
        LINK | {"keys": {}},
        with_keys(),
        with_keys(SECRET_TEXT),
        with_keys({"id": "k.1"}),
        with_keys({"id": "k.1", "secret": SECRET_TEXT, "extra": 1}),
        with_keys({"id": 1, "secret": SECRET_TEXT}),
        with_keys({"id": "k.1", "secret": None}),
        with_keys({"id": "k 1", "secret": SECRET_TEXT}),
        with_keys({"id": "k.1", "secret": SECRET_TEXT[:-2]}),
        with_keys({"id": "k.1", "secret": SECRET_TEXT + "="}),
        with_keys({"id": "k.1", "secret": SECRET_TEXT[:-1] + "9"}),
        with_keys({"id": "k.1", "secret": SECRET_TEXT + "AA"}),
        with_keys({"id": "k.1", "secret": SECRET_TEXT + "\n"}),
        with_keys({"id": "k.1", "secret": "+/" + SECRET_TEXT[2:]}),
        with_keys(*({"id": "k.1", "secret": SECRET_TEXT},) * 2),
        with_keys(
            {"id": "k.1", "secret": SECRET_TEXT},
            {"id": "k.2", "secret": OTHER_SECRET_TEXT},
            {"id": "k.3", "secret": THIRD_SECRET_TEXT},
        ),
    ],
)
def test_a_malformed_file_is_refused_by_name_and_without_its_secret(tmp_path: Path, document: object) -> None:
    write(tmp_path, document)
    with pytest.raises(LinkKeyError) as caught:
        LinkKeys.load(tmp_path, "orders")
    # Neither the message nor anything that a traceback with its causes would print.
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET_TEXT[:20] not in f"{error} {error.args} {vars(error)}"
        error = error.__context__


def test_a_malformed_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "not json")
    with pytest.raises(LinkKeyError) as caught:
        LinkKeys.load(tmp_path, "orders")
    assert str(path) in str(caught.value)


def test_what_create_link_writes_load_reads(tmp_path: Path) -> None:
    create_link(tmp_path, "gateway", "orders")
    key = LinkKeys.load(tmp_path, "gateway").outbound("orders")
    assert key.key_id.startswith("gateway.orders.")
    assert len(key.secret) == 32
    assert LinkKeys.load(tmp_path, "orders").inbound(key.key_id) == key
