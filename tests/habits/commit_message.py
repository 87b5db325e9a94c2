"""`python -m tests.habits.commit_message FILE`: holds a commit message to the rule in CONTRIBUTING.md.

The mood of the subject's verb is left to reviewers: a list of verbs would know too few.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

SUBJECT_LENGTH: Final = 72
MADE_BY_GIT: Final = ("Merge ", "Revert ", "fixup! ", "squash! ", "amend! ")
SCISSORS: Final = "# ------------------------ >8"
"""Git cuts the message off here, above the diff of `git commit --verbose`."""


def faults(message: str) -> list[str]:
    """What breaks the rule; empty when all is well."""
    lines = [line for line in message.partition(SCISSORS)[0].splitlines() if not line.startswith("#")]
    subject = lines[0] if lines else ""
    if subject.startswith(MADE_BY_GIT):
        return []
    found: list[str] = []
    if not subject[:1].isupper() or subject.endswith("."):
        found.append("the subject begins with a capital letter and ends without a full stop")
    if len(subject) > SUBJECT_LENGTH:
        found.append(f"the subject has {len(subject)} characters, at most {SUBJECT_LENGTH} are allowed")
    if lines[1:2] != [""] or not any(line.strip() for line in lines[2:]):
        found.append("an empty line and a body that says why follow the subject")
    return found


def main() -> int:
    """The exit status."""
    found = faults(Path(sys.argv[1]).read_text())
    print("\n".join(found), end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
