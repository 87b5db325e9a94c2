"""The files that an address of Redis names are looked at when the gateway starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.errors import ConfigurationError
from lockgate.stores.checked_address import read_checked_address


def test_the_private_key_for_redis_is_nobody_elses_to_read(tmp_path: Path) -> None:
    """R-215: the same rule as for every other private key."""
    key = tmp_path / "key.pem"
    key.touch(mode=0o600)
    for scheme in ("rediss://h", "rediss+cluster://h", "rediss+sentinel://h/m"):
        address = f"{scheme}?ssl_keyfile={key}"
        key.chmod(0o600)
        read_checked_address(address)
        key.chmod(0o644)
        with pytest.raises(ConfigurationError, match="ssl_keyfile: readable by others"):
            read_checked_address(address)


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
def test_a_file_of_an_address_that_cannot_be_read_ends_the_start(option: str) -> None:
    """R-214: it would look like an outage later."""
    with pytest.raises(ConfigurationError, match=f"redis_url: {option}: its file cannot be read"):
        read_checked_address(f"rediss://h?{option}=/nowhere/file.pem")
