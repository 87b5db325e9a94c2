import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from lockgate_trust import LinkKeyError, LinkKeys, create_link, link_path

ROOT = Path(__file__).parents[2]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_missing_link_is_made_and_an_existing_one_is_kept(tmp_path: Path) -> None:
    assert create_link(tmp_path, "gateway", "orders")
    first = link_path(tmp_path, "gateway", "orders").read_bytes()
    assert not create_link(tmp_path, "gateway", "orders")
    assert link_path(tmp_path, "gateway", "orders").read_bytes() == first


def test_the_file_is_for_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create_link(tmp_path / "links", "gateway", "orders")
    finally:
        os.umask(before)
    assert mode_of(link_path(tmp_path / "links", "gateway", "orders")) == 0o600
    assert mode_of(tmp_path / "links") == 0o700


def test_nothing_but_the_file_is_left_behind(tmp_path: Path) -> None:
    create_link(tmp_path, "gateway", "orders")
    create_link(tmp_path, "gateway", "orders")
    assert [path.name for path in tmp_path.iterdir()] == ["gateway--orders.json"]


def test_each_link_gets_its_own_secret(tmp_path: Path) -> None:
    create_link(tmp_path, "gateway", "orders")
    create_link(tmp_path, "gateway", "users")
    keys = LinkKeys.load(tmp_path, "gateway")
    assert keys.outbound("orders").secret != keys.outbound("users").secret


def test_a_draft_that_a_crash_left_behind_is_never_read(tmp_path: Path) -> None:
    create_link(tmp_path, "gateway", "orders")
    (tmp_path / ".gateway--orders.json.0011223344556677.tmp").write_text("{")
    (tmp_path / ".users--orders.json.0011223344556677.tmp").write_text("{")
    assert LinkKeys.load(tmp_path, "orders").origins == {"gateway"}


def test_a_name_that_leads_elsewhere_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(LinkKeyError, match="not a service name"):
        create_link(tmp_path / "links", "../gateway", "orders")
    with pytest.raises(LinkKeyError, match="to itself"):
        create_link(tmp_path / "links", "orders", "orders")
    assert list(tmp_path.iterdir()) == []


def test_of_racing_threads_one_wins_and_all_read_its_key(tmp_path: Path) -> None:
    racers = 8
    for attempt in range(20):
        directory = tmp_path / str(attempt)
        start = Barrier(racers)

        def race(directory: Path = directory, start: Barrier = start) -> tuple[bool, bytes]:
            start.wait()
            made = create_link(directory, "gateway", "orders")
            return made, LinkKeys.load(directory, "gateway").outbound("orders").secret

        with ThreadPoolExecutor(racers) as pool:
            results = [future.result() for future in [pool.submit(race) for _ in range(racers)]]
        assert sum(made for made, _ in results) == 1
        assert len({secret for _, secret in results}) == 1


@pytest.mark.process
def test_of_racing_processes_one_wins_and_all_read_its_key(tmp_path: Path) -> None:
    program = (
        "import sys; from lockgate_trust import LinkKeys, create_link; sys.stdin.read(1);"
        "made = create_link(sys.argv[1], 'gateway', 'orders');"
        "print(made, LinkKeys.load(sys.argv[1], 'gateway').outbound('orders').secret.hex())"
    )
    racers = [
        subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", program, str(tmp_path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("!")
        racer.stdin.flush()
    outputs = [racer.communicate(timeout=30)[0].split() for racer in racers]
    assert sorted(made for made, _ in outputs) == ["False", "False", "False", "True"]
    assert len({secret for _, secret in outputs}) == 1
