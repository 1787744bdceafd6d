"""Names of modules that no code uses: dead code, and code that is alive in tests only.

References are resolved through imports, and through the packages that export a name again. Neither an import alone nor
an `__all__` is a reference, nor is a mention of a name within its own definition.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from tests.support.house import FunctionNode, Source

Name = tuple[str, str]  # a module, and a name in it

# Every other decorator registers its function somewhere: a route, a command, a fixture, a validator.
_REGISTERS_NOTHING = {
    "asynccontextmanager",
    "cache",
    "contextmanager",
    "dataclass",
    "final",
    "lru_cache",
    "overload",
    "runtime_checkable",
    "total_ordering",
}


def names_without_callers(
    product: Sequence[Source], others: Sequence[Source], texts: Iterable[str] = ()
) -> set[tuple[str, str]]:
    """Path and name of each definition in `product` to which neither it nor `others` refer.

    `texts` are other files (configuration, documents) that name code as `package.module:name`.
    """
    everything = [*product, *others]
    references = _References(everything)
    used = {name for text in texts for name in references.in_text("", text)}
    inside: dict[Name, set[ast.stmt]] = defaultdict(set)
    for file in everything:
        for name, statement in references.of(file):
            inside[name].add(statement)
    return {
        (file.path, name)
        for file in product
        for name, definition in definitions(file).items()
        if not name.startswith("__")
        and (file.module, name) not in used
        and not inside[file.module, name] - {definition}
        and not _registers_itself(definition)
    }


def definitions(source: Source) -> dict[str, ast.stmt]:
    """The functions, classes and constants at the top level of a module, by name."""
    found: dict[str, ast.stmt] = {}
    for node in _top_level(source.tree.body):
        if isinstance(node, ast.ClassDef | FunctionNode):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for part in ast.walk(target):
                    if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                        found[part.id] = node
    return found


def _top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from _top_level([*node.body, *node.orelse])


def _registers_itself(definition: ast.stmt) -> bool:
    if isinstance(definition, ast.ClassDef | FunctionNode):
        decorators = {_last_name(each) for each in definition.decorator_list}
        return bool(decorators - _REGISTERS_NOTHING)
    # A table or an index belongs to its metadata; the declared views are compared with the database as a whole.
    value = definition.value if isinstance(definition, ast.Assign | ast.AnnAssign) else None
    return isinstance(value, ast.Call) and _last_name(value) in {"Table", "Index", "View"}


def _last_name(expression: ast.expr) -> str:
    function = expression.func if isinstance(expression, ast.Call) else expression
    return ast.unparse(function).split(".")[-1]


class _References:
    """Resolves the names in some files to the modules that define them."""

    def __init__(self, files: Sequence[Source]) -> None:
        self._defined = {file.module: definitions(file).keys() for file in files}
        self._imports = {file.module: dict(_imports(file)) for file in files}

    def of(self, source: Source) -> Iterator[tuple[Name, ast.stmt]]:
        """Each reference in a file, with the top-level statement that it is part of."""
        for statement in _top_level(source.tree.body):
            if isinstance(statement, ast.If | ast.Try) or "__all__" in _stored(statement):
                continue
            for node in ast.walk(statement):
                yield from ((name, statement) for name in self._referred(source.module, node))

    def in_text(self, module: str, text: str) -> Iterator[Name]:
        """The names in a text: `package.module:name`, or the one name that it is, as an annotation in quotes."""
        for dotted in re.findall(r"[A-Za-z_][\w.]*[.:]\w+", text):
            holder, _, name = dotted.replace(":", ".").rpartition(".")
            if holder in self._defined:
                yield self._origin(holder, name)
        if text.isidentifier():
            yield from self._resolved(module, text)

    def _referred(self, module: str, node: ast.AST) -> Iterator[Name]:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield from self._resolved(module, node.id)
        elif isinstance(node, ast.Attribute):
            yield from self._attribute(module, node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from self.in_text(module, node.value)

    def _attribute(self, module: str, node: ast.Attribute) -> Iterator[Name]:
        first, *rest = ast.unparse(node.value).split(".")
        for holder, name in self._resolved(module, first):
            full = ".".join([holder, *([name] if name else []), *rest])
            if full in self._defined:
                yield self._origin(full, node.attr)

    def _resolved(self, module: str, name: str) -> Iterator[Name]:
        if origin := self._imports.get(module, {}).get(name):
            yield self._origin(*origin)
        elif name in self._defined.get(module, ()):
            yield module, name

    def _origin(self, module: str, name: str) -> Name:
        """Where a name that this module has comes from; a module is itself, with no name."""
        seen: set[Name] = set()
        while (module, name) not in seen and name not in self._defined.get(module, ()):
            seen.add((module, name))
            module, name = self._imports.get(module, {}).get(name, (module, name))
        return module, name


def _imports(source: Source) -> Iterator[tuple[str, Name]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom):
            base = source.base_of(node)
            yield from ((each.asname or each.name, (base, each.name)) for each in node.names)
        elif isinstance(node, ast.Import):
            for each in node.names:
                full = each.name if each.asname else each.name.split(".")[0]
                yield each.asname or full, (full, "")


def _stored(statement: ast.stmt) -> set[str]:
    return {
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
