"""The functions that a page of the documentation names, and those that a file has."""

import ast
import re
from collections.abc import Iterator


def named_functions(text: str) -> list[tuple[str, str]]:
    """Return the pairs that are written as `file.py` `function`, `Class.method`."""
    return [
        (file, function)
        for file, functions in re.findall(
            r"`([\w/]+\.py)`((?:[\s,]+`\w+(?:\.(?!py`)\w+)?`)+)", text
        )
        for function in re.findall(r"`([\w.]+)`", functions)
    ]


def functions_of(source: str) -> set[str]:
    """The functions of a module and the methods of its classes, by qualified name."""

    def found(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for each in body:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                yield prefix + each.name
            elif isinstance(each, ast.ClassDef):
                yield from found(each.body, f"{prefix}{each.name}.")

    return set(found(ast.parse(source).body, ""))
