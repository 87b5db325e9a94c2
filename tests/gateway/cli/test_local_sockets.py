"""Local sockets lead to this account's programs alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from lockgate.cli import control, local_sockets
from tests.support.accounts import said_by


def test_a_name_is_found_by_its_beginning_and_is_gone_with_its_listener() -> None:
    """R-297: nothing is left behind."""
    prefix = f"lockgate-{secrets.token_hex(8)}"
    listener, name = local_sockets.listen(prefix)
    other, second = local_sockets.listen(prefix)
    assert local_sockets.find(prefix) == sorted([name, second])
    with local_sockets.connect(name) as connected:
        assert local_sockets.is_ours(connected)
        assert local_sockets.process_of(connected) == os.getpid()
    for one, its in ((listener, name), (other, second)):
        local_sockets.close(one, its)
    assert local_sockets.find(prefix) == []
    with pytest.raises(OSError, match="refused"):
        local_sockets.connect(name)


@pytest.mark.process
def test_a_program_of_another_account_is_known_as_such() -> None:
    """R-297: any account can connect to such a name, and is not answered."""
    listener, name = local_sockets.listen(f"lockgate-{secrets.token_hex(8)}")
    said_by("from lockgate.cli import local_sockets", f"local_sockets.connect({name!r}).close()")
    listener.setblocking(True)  # noqa: FBT003 - the library's spelling
    accepted, _ = listener.accept()
    with accepted:
        assert not local_sockets.is_ours(accepted)
    local_sockets.close(listener, name)


def test_the_name_of_a_configuration_does_not_follow_links(tmp_path: Path) -> None:
    """A mounted Kubernetes ConfigMap is a link that leads to another folder after each change."""
    before = control.prefix_of(tmp_path / "lockgate.toml")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "lockgate.toml").touch()
    (tmp_path / "lockgate.toml").symlink_to(tmp_path / "a" / "lockgate.toml")
    assert control.prefix_of(tmp_path / "lockgate.toml") == before
    assert control.prefix_of(tmp_path / "a" / ".." / "lockgate.toml") == before
