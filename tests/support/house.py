"""Checks of the sources: sizes of files, functions and folders, import cycles, and names of classes."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]
# Product code; the sandbox and the benchmarks live in the same house.
ROOMS = ("chassis", "errands", "events", "messaging", "services", "sandbox", "benchmarks")

LONGEST_FILE = 300
LONGEST_FUNCTION = 40
FULLEST_FOLDER = 15

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """A file of product code; `path` is relative to the repository, with slashes."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def module(self) -> str:
        """The name under which it is imported."""
        parts = PurePosixPath(self.path).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def folder(self) -> str:
        return str(PurePosixPath(self.path).parent)

    def base_of(self, node: ast.ImportFrom) -> str:
        """The package or module that an import statement of this file takes its names from."""
        if not node.level:
            return node.module or ""
        package = self.path.removesuffix(".py").split("/")[: -node.level]
        return ".".join([*package, *([node.module] if node.module else [])])


def sources(rooms: Iterable[str] = ROOMS) -> list[Source]:
    """Return all files of these rooms, in order."""
    return [
        _source(path.relative_to(ROOT).as_posix())
        for room in rooms
        for path in sorted((ROOT / room).rglob("*.py"))
    ]


@cache
def _source(path: str) -> Source:
    return Source(path, (ROOT / path).read_text())


def long_files(files: Iterable[Source]) -> set[str]:
    """Files with too many lines."""
    return {each.path for each in files if len(each.text.splitlines()) > LONGEST_FILE}


def long_functions(files: Iterable[Source]) -> set[tuple[str, str]]:
    """Functions with too many lines, from `def` to the end: the docstring counts, decorators don't."""
    return {
        (each.path, node.name)
        for each in files
        for node in ast.walk(each.tree)
        if isinstance(node, FunctionNode)
        and (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    }


def full_folders(files: Iterable[Source]) -> set[str]:
    """Folders with too many files of their own."""
    counts: dict[str, int] = defaultdict(int)
    for each in files:
        counts[each.folder] += 1
    return {folder for folder, count in counts.items() if count > FULLEST_FOLDER}


def classes_of_one_name(files: Iterable[Source]) -> dict[str, list[str]]:
    """Return the names that several public classes have, with their files."""
    found: dict[str, list[str]] = defaultdict(list)
    for each in files:
        for node in each.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(each.path)
    return {name: paths for name, paths in found.items() if len(paths) > 1}


def import_cycles(files: Iterable[Source]) -> list[list[str]]:
    """Return the circles of modules that import each other at import time; each circle sorted."""
    by_name = {each.module: each for each in files}
    graph = {name: _imported(each, by_name) for name, each in by_name.items()}
    return _circles(graph)


def _imported(source: Source, known: Mapping[str, Source]) -> set[str]:
    # The modules of ours that importing this one imports; the packages around it are already being imported.
    found: set[str] = set()
    for node in _at_import(source.tree.body):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        else:
            base = source.base_of(node)
            names = {
                f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base
                for alias in node.names
            }
        for name in names:
            found.add(name)
            found |= {each for each in _packages(name) if not source.module.startswith(f"{each}.")}
    return (found & known.keys()) - {source.module}


def _packages(module: str) -> Iterator[str]:
    parts = module.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts)))


def _at_import(body: Iterable[ast.AST]) -> Iterator[ast.Import | ast.ImportFrom]:
    # Without imports inside functions, and without those that only the type checker sees.
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            yield from _at_import(node.orelse)
        elif not isinstance(node, FunctionNode | ast.Lambda):
            yield from _at_import(ast.iter_child_nodes(node))


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def _circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    # Groups of modules that can all reach each other. The graph is small, so all reachable sets are computed.
    reached = {name: _reach(graph, name) for name in graph}
    circles = {
        tuple(sorted({name} | {each for each in ends if name in reached[each]}))
        for name, ends in reached.items()
        if name in ends
    }
    return [list(each) for each in sorted(circles)]


def _reach(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen
