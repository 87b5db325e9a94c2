"""`python -m tests.habits.prose`: counts the vague pronouns of the writing guide in prose, and fails above the bounds.

Prose is Markdown outside code, and the docstrings and comments of source files. A vague pronoun names no actor, so the
reader must guess: "the client", "the operator" or "a caller without an account" says it.

    python -m tests.habits.prose                    # the worst files and the total; exit status 1 above a bound
    python -m tests.habits.prose --files docs src   # each hit below these paths, with its line
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.habits.files import ROOT, project_files

VAGUE: Final = frozenset(
    {
        *("who", "whoever", "whose", "whom", "nobody", "somebody", "anybody", "everybody"),
        *("someone", "anyone", "everyone", "whatever"),
    }
)
LOOSE: Final = VAGUE | {"what", "it", "they", "one", "others"}
"""Words that are fine where their noun is near: counted in docstrings as a share, without a bound."""
PER_FILE: Final = 5
PER_THOUSAND: Final = 2.0
WORST: Final = 20

WORD: Final = re.compile(r"([A-Za-z]+)(?:['\u2019][A-Za-z]+)?")
"""A word; the group is what stands before an apostrophe."""
NOT_PROSE: Final = re.compile(r"``.*?``|`[^`\n]*`|\]\([^)\s]*\)|<?https?://[^\s>)]*>?|\{#.*?\}")
"""Code, link targets and addresses inside a line."""
FENCE: Final = re.compile(r"\s*(```+|~~~+)")
HASH_COMMENT: Final = re.compile(r"(?:^|\s)#+(?:\s(.*)|$)")
PRAGMA: Final = re.compile(r"^(?:!|noqa\b|type: ignore|ruff:|pragma:|shellcheck\b|syntax=)")
LUA_COMMENT: Final = re.compile(r"(?:^|\s)--+(?!\[)\s?(.*)")
SLASH_COMMENT: Final = re.compile(r"(?:^|\s)(?://+\s?(.*)|/?\*+\s(.*?)(?:\*/|$))")
COMMENTS: Final = {
    ".lua": LUA_COMMENT,
    ".js": SLASH_COMMENT,
    ".mjs": SLASH_COMMENT,
    ".java": SLASH_COMMENT,
    **dict.fromkeys((".toml", ".yaml", ".yml", ".sh", ".conf", ".mako", ".gitignore"), HASH_COMMENT),
    **dict.fromkeys(("Makefile", "Dockerfile", "Caddyfile", "run", ".editorconfig", ".dockerignore"), HASH_COMMENT),
}
"""By suffix, or by name where a file has none: what begins a comment."""

Line = tuple[int, str]
"""A line number, and the prose on that line."""


@dataclass(frozen=True, slots=True)
class Count:
    """What was found in one file."""

    words: int
    hits: tuple[tuple[int, str, str], ...]
    """For each vague pronoun: its line number, itself, and the prose of that line."""
    docstring_words: int = 0
    docstring_loose: int = 0


def markdown_prose(text: str) -> list[Line]:
    """The lines of a Markdown text outside fenced code."""
    lines: list[Line] = []
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        if (found := FENCE.match(line)) is not None and (not fence or found[1].startswith(fence)):
            fence = "" if fence else found[1]
        elif not fence:
            lines.append((number, line))
    return lines


def docstring_prose(text: str) -> list[Line]:
    """The docstrings of Python source, those below attributes too."""
    return [
        (number, line)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for number, line in enumerate(node.value.value.splitlines(), node.lineno)
    ]


def python_comments(text: str) -> list[Line]:
    """The comments of Python source."""
    return [
        (token.start[0], token.string.lstrip("#").strip())
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    ]


def line_comments(text: str, comment: re.Pattern[str]) -> list[Line]:
    """The comments of a file with one pattern for them."""
    return [
        (number, next((group for group in found.groups() if group), ""))
        for number, line in enumerate(text.splitlines(), 1)
        if (found := comment.search(line)) is not None
    ]


def words_of(lines: list[Line]) -> list[tuple[int, str, str]]:
    """Each word of prose: its line number, itself in lower case, its line."""
    return [
        (number, word.lower(), line.strip())
        for number, line in lines
        if not PRAGMA.match(line)
        for word in WORD.findall(NOT_PROSE.sub(" ", line))
    ]


def docstrings_and_other_prose(path: Path) -> tuple[list[Line], list[Line]] | None:
    """The docstrings of a file, and the rest of its prose; None for a file without prose that this script can read."""
    if path.suffix == ".md":
        return [], markdown_prose(path.read_text())
    if path.suffix == ".py":
        text = path.read_text()
        return docstring_prose(text), python_comments(text)
    if (comment := COMMENTS.get(path.suffix) or COMMENTS.get(path.name)) is not None:
        return [], line_comments(path.read_text(), comment)
    return None


def count(path: Path) -> Count | None:
    """What is in this file; None for a file without prose."""
    if (lines := docstrings_and_other_prose(path)) is None:
        return None
    docstrings, others = (words_of(some) for some in lines)
    words = docstrings + others
    return Count(
        words=len(words),
        hits=tuple(sorted(found for found in words if found[1] in VAGUE)),
        docstring_words=len(docstrings),
        docstring_loose=sum(word in LOOSE for _, word, _ in docstrings),
    )


def count_all(paths: list[Path]) -> dict[Path, Count]:
    """By file; files without prose are left out."""
    counted = {path: count(path) for path in paths}
    return {path: found for path, found in counted.items() if found is not None}


def problems(counts: dict[Path, Count]) -> list[str]:
    """What is above a bound, in words; empty when all is well."""
    found = [
        f"{path}: {len(one.hits)} vague pronouns, at most {PER_FILE} are allowed"
        for path, one in counts.items()
        if len(one.hits) > PER_FILE
    ]
    if (rate := per_thousand(counts)) > PER_THOUSAND:
        found.append(f"{rate:.2f} vague pronouns in 1,000 words, at most {PER_THOUSAND:g} are allowed")
    return found


def per_thousand(counts: dict[Path, Count]) -> float:
    """Vague pronouns in 1,000 words of all these files."""
    words = sum(one.words for one in counts.values())
    return 1000 * sum(len(one.hits) for one in counts.values()) / words if words else 0.0


def summary(counts: dict[Path, Count], root: Path) -> list[str]:
    """The worst files, and one line for each folder at the top."""
    worst = sorted(counts.items(), key=lambda item: (-len(item[1].hits), item[0]))[:WORST]
    lines = [f"{len(one.hits):5}  {path.relative_to(root)}" for path, one in worst if one.hits]
    tops: dict[str, dict[Path, Count]] = {}
    for path, one in counts.items():
        below = path.relative_to(root).parts
        tops.setdefault(below[0] if len(below) > 1 else ".", {})[path] = one
    lines.append(f"{'':12}{'files':>7}{'words':>9}{'vague':>7}{'per 1,000':>11}{'loose words in docstrings':>27}")
    for name, group in [*sorted(tops.items()), ("all", counts)]:
        hits = sum(len(one.hits) for one in group.values())
        in_docstrings = sum(one.docstring_words for one in group.values())
        loose = sum(one.docstring_loose for one in group.values()) / in_docstrings if in_docstrings else 0.0
        words = sum(one.words for one in group.values())
        lines.append(f"{name:12}{len(group):7}{words:9}{hits:7}{per_thousand(group):11.2f}{loose:27.2%}")
    by_word = Counter(word for one in counts.values() for _, word, _ in one.hits)
    lines.append(", ".join(f"{word} {times}" for word, times in by_word.most_common()) or "no vague pronoun at all")
    return lines


def below(paths: list[Path]) -> list[Path]:
    """These files, and the project's files in these folders."""
    return [file for path in paths for file in (project_files(path) if path.is_dir() else [path])]


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", nargs="+", type=Path, metavar="PATH", help="list each hit in these files or folders")
    parser.add_argument("--no-fail", action="store_true", help="exit with 0 above the bounds too")
    options = parser.parse_args()
    if options.files:
        counts = count_all(below(options.files))
        for path, one in counts.items():
            for number, word, line in one.hits:
                print(f"{path}:{number}: {word}: {line}")
        print(f"{sum(len(one.hits) for one in counts.values())} in {len(counts)} files")
        return 0
    counts = count_all(project_files())
    print("\n".join(summary(counts, ROOT)))
    found = problems({path.relative_to(ROOT): one for path, one in counts.items()})
    print("\n".join(found), file=sys.stderr)
    return int(bool(found) and not options.no_fail)


if __name__ == "__main__":
    sys.exit(main())
