"""Files that hold secrets: read only where no other account can read them.

The rule is that of PostgreSQL. A file of the program's own account is 0600 or 0400. A file of root's may be 0640 or
0440 where its group is one of the process: Kubernetes mounts secrets that way (`fsGroup`; the pod cannot change them),
and packages install keys that way (`root:ssl-cert`). One function, `exposure`, judges the opened file for every
private key that gateway, services and commands read.

- Root gives away what it likes, so a file of root's in a group of the process was meant for the process. A file of
  another account that a group can read was not: its mode is a slip.
- A process that runs as root needs no group to read files of root's. So root's own group does not count for such a
  process, and a group that it was put into (`fsGroup`) does.
- Access control lists are not read; their mask shows in the mode of the group.
"""

import os
import stat
from pathlib import Path
from typing import Final

_ROOT: Final = 0


class PrivateFileError(ValueError):
    """A file with a secret cannot be used. The text names the file, what is wrong and what would be right."""


def read_private(path: str | os.PathLike[str], most: int) -> bytes:
    """The content of a file that no other account may read.

    Symbolic links are followed: what they lead to is judged, on the opened file.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        PrivateFileError: it cannot be read, is no regular file or too long, or readable by others.
    """
    file = Path(path)
    try:
        with file.open("rb") as opened:
            # Asked of the open file, so that what is checked is what is read.
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PrivateFileError(f"{file}: not a regular file")
            wrong = exposure(status)
            if wrong is not None:
                raise PrivateFileError(f"{file}: {wrong}")
            content = opened.read(most + 1)
    except OSError as error:
        raise PrivateFileError(f"{file}: cannot be read ({error.strerror})") from error
    if len(content) > most:
        raise PrivateFileError(f"{file}: longer than {most} bytes")
    return content


def exposure(status: os.stat_result) -> str | None:
    """Why a file of this owner, group and mode is no private one, and what would be right; None where it is.

    Args:
        status: of the opened file.
    """
    mode, groups = stat.S_IMODE(status.st_mode), _process_groups()
    if not mode & 0o077:
        return None
    if status.st_uid != _ROOT:
        return f"readable by others: its mode is {mode:04o}; `chmod 600` it"
    if mode & 0o037:
        return (
            f"readable by others: it is root's and its mode is {mode:04o}; `chmod 600` it, or `chmod 640` it where its "
            "group is one of this process"
        )
    if status.st_gid not in groups:
        known = ", ".join(map(str, sorted(groups))) or "none"
        return (
            f"readable by others: its mode is {mode:04o} and its group {status.st_gid} is none of this process "
            f"({known}); `chmod 600` it, or run this process in that group"
        )
    return None


def _process_groups() -> frozenset[int]:
    """The groups of this process to which root may have given a file."""
    groups = {os.getegid(), *os.getgroups()}
    # Root needs no group to read its own files. A file that root's group can read is readable by its members.
    return frozenset(groups - {_ROOT} if os.geteuid() == _ROOT else groups)
