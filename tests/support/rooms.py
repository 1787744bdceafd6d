"""The tables that a file names in SQL text, and the rooms that own them.

A room is a folder with a tables.py; errands and messaging are rooms, too.

A table is named where a word that SQL has before a table (FROM, JOIN, INTO …) stands before it in a string, and where
rows are copied into it. Where the name is filled into the text, every string of the file that is a table's name counts.
Keywords are upper case in our SQL, so prose names no table.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from tests.support.house import Source

# What both services stand on; each has tables in the schema of each service.
SHARED = ("errands", "messaging")
_BEFORE = (
    r"\b(?:FROM|JOIN|INTO|UPDATE|COPY|TABLE|USING|TRUNCATE)\s+(?:(?:TABLE|ONLY|IF EXISTS)\s+)*"
)
_TABLE = r"(?:[\w{}]+\.)?\"?(\w+)"
_NAMED = re.compile(_BEFORE + _TABLE)
# `FROM payments p, refunds AS r`
_LISTED = re.compile(_BEFORE + r"((?:[\w.\"{}]+(?:\s+(?:AS\s+)?\w+)?\s*,\s*)+[\w.\"{}]+)")
_FILLED_IN = re.compile(_BEFORE + r"(?:[\w{}]+\.)?\{")


def tables_of_rooms(files: Iterable[Source]) -> dict[str, str]:
    """Return the room of each table that these files declare."""
    return {
        table: _top(each) if _top(each) in SHARED else each.folder
        for each in files
        if PurePosixPath(each.path).name == "tables.py" or _top(each) in SHARED
        for table in _declared(each.tree)
    }


def foreign_tables(files: Sequence[Source]) -> dict[str, set[str]]:
    """By file of one service (and of what is shared): tables of other rooms that it names."""
    owners = tables_of_rooms(files)
    rooms = set(owners.values())
    found: dict[str, set[str]] = defaultdict(set)
    for each in files:
        own = room_of(each.path, rooms)
        for table in named_tables(each.tree):
            if table in owners and owners[table] != own:
                found[each.path].add(table)
    return dict(found)


def room_of(path: str, rooms: set[str]) -> str | None:
    """Return the nearest room around a file."""
    around = (str(folder) for folder in PurePosixPath(path).parents)
    return next((folder for folder in around if folder in rooms), None)


def named_tables(tree: ast.Module) -> set[str]:
    """Return the words at the place of a table in SQL, in all strings but docstrings, and in calls of copy()."""
    texts = list(_texts(tree))
    found = set(_copied(tree))
    for text in texts:
        found.update(_NAMED.findall(text))
        for listed in _LISTED.findall(text):
            found.update(re.findall(rf"(?:^|,)\s*{_TABLE}", listed))
    if any(_FILLED_IN.search(text) for text in texts):
        found.update(texts)
    return found


def _texts(tree: ast.Module) -> Iterator[str]:
    # An f-string is one text with `{}` for each value, so that the words around a value do not seem to be neighbours.
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped.update(id(part) for part in node.values)
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
            continue
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and id(node) not in skipped:
            yield value


def _copied(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) == "copy":
            named = [each.value for each in node.keywords if each.arg == "table"]
            for each in (*node.args[1:2], *named):
                if isinstance(each, ast.Constant) and isinstance(each.value, str):
                    yield each.value


def _declared(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) == "Table" and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield name.value


def _name(function: ast.expr) -> str:
    return ast.unparse(function).split(".")[-1]


def _top(source: Source) -> str:
    return source.path.split("/")[0]
