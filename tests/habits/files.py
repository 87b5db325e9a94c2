"""The files of the repository, without what is built, installed or generated."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOT_FOLDERS: Final = frozenset({".ci", ".github"})
"""The project's own folders among those with a dot in front."""
SKIPPED: Final = frozenset({"__pycache__", "build", "dist", "node_modules"})


def project_files(root: Path = ROOT) -> list[Path]:
    """All files below `root` that belong to the project, sorted; no git is needed."""
    found: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED and (name[0] != "." or name in DOT_FOLDERS)]
        found.extend(Path(folder, name) for name in names)
    return sorted(found)
