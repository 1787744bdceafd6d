"""References that Markdown documents make: links with their anchors, paths, commands to type."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_FENCE = re.compile(r"^(```+|~~~+).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_PATH = re.compile(r"\.?[\w.*-]+(?:/[\w.*{},-]+)*/?")
# The end of a command in a line: a pipe, a redirection, another command, a comment.
_END = re.compile(r"\s[|>&#]|[;)`]|\$\(")


def documents(root: Path) -> list[Path]:
    """All Markdown files of the repository, in order; neither installed packages nor what runs leave behind."""
    return sorted(
        path
        for path in root.rglob("*.md")
        if not any(
            part in {"node_modules", "build"} or (part.startswith(".") and part != ".github")
            for part in path.relative_to(root).parts[:-1]
        )
    )


def dead_links(document: Path) -> list[str]:
    """Links to files that do not exist, and to headings that their page does not have."""
    found = []
    for target in _LINK.findall(_FENCE.sub("", document.read_text())):
        if "://" in target or target.startswith("mailto:"):
            continue
        file, _, anchor = target.partition("#")
        page = (document.parent / file) if file else document
        missing = not page.exists()
        if missing or (anchor and page.suffix == ".md" and anchor not in anchors(page.read_text())):
            found.append(target)
    return found


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page, and those that the page sets itself."""
    found: set[str] = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", _FENCE.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        repeated = next(
            n for n in range(len(found) + 1) if (f"{slug}-{n}" if n else slug) not in found
        )
        found.add(f"{slug}-{repeated}" if repeated else slug)
    return found


def missing_paths(text: str, root: Path) -> set[str]:
    """Paths in `code` that begin in a folder of the repository and lead nowhere; `*` and `{a,b}` are expanded.

    A Python file that is named alone has to exist in some folder.
    """
    files = {path.name for path in root.rglob("*.py")}
    found = set()
    for code in re.findall(r"`([^`\n]+)`", _FENCE.sub("", text)):
        path = re.sub(r":\d+$", "", code)
        if not _PATH.fullmatch(path):
            continue
        if "/" not in path:
            missing = path.endswith(".py") and "*" not in path and path not in files
        elif not (root / path.split("/")[0]).is_dir():
            continue
        else:
            missing = not all(any(root.glob(each.rstrip("/"))) for each in _expanded(path))
        if missing:
            found.add(code)
    return found


def _expanded(path: str) -> Iterator[str]:
    before, brace, rest = path.partition("{")
    if not brace:
        yield path
        return
    choices, _, after = rest.partition("}")
    for choice in choices.split(","):
        yield from _expanded(before + choice + after)


def commands(text: str, program: str) -> list[list[str]]:
    """The arguments of each call of a program, in `code` and at the start of lines in fenced blocks."""
    fences = [match.group() for match in _FENCE.finditer(text)]
    lines = [*re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))]
    lines += [line for fence in fences for line in fence.replace("\\\n", " ").splitlines()[1:-1]]
    call = re.compile(
        rf"^\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?{re.escape(program)}(?: +(.*))?$"
    )
    return [
        _END.split(match.group(1) or "")[0].split() for line in lines if (match := call.match(line))
    ]


def make_targets(makefile: str) -> set[str]:
    """The targets that a Makefile declares."""
    return set(re.findall(r"^([\w-]+):(?!=)", makefile, re.MULTILINE))


def unknown_command(words: Iterable[str], program: Any) -> str | None:
    """The first word of a call that names neither a command nor an option of a Click program; None if all do.

    Placeholders (`ID`, `<id>`) and other arguments are skipped.
    """
    command = program
    for word in words:
        if word.startswith("--"):
            options = {
                name for each in command.params for name in (*each.opts, *each.secondary_opts)
            }
            if word.split("=")[0] not in {*options, "--help"}:
                return word
        elif hasattr(command, "commands") and re.fullmatch(r"[a-z][a-z-]*", word):
            if word not in command.commands:
                return word
            command = command.commands[word]
    return None
