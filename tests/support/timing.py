"""Tests that assert a bound of measured time: beside another test on the same processors they fail by chance."""

import ast
from collections.abc import Iterator

from tests.support.house import FunctionNode, Source

CLOCKS = {"monotonic", "perf_counter", "process_time", "time"}
# A bound as generous as this holds on a busy machine, too: it only distinguishes "later" from "never".
GENEROUS_SECONDS = 20


def hasty_tests(files: list[Source]) -> set[tuple[str, str]]:
    """Return tests that assert a rate or a tight upper bound of seconds, and may run beside other tests."""
    return {
        (each.path, node.name)
        for each in files
        for node in ast.walk(each.tree)
        if isinstance(node, FunctionNode)
        and node.name.startswith("test_")
        and not any(ast.unparse(mark) == "pytest.mark.alone" for mark in node.decorator_list)
        and _has_tight_assert(node)
    }


def _has_tight_assert(function: ast.AST) -> bool:
    measured = _measured_names(function)
    return any(_is_tight(check, measured) for check in _asserts(function))


def _asserts(function: ast.AST) -> Iterator[ast.expr]:
    return (node.test for node in ast.walk(function) if isinstance(node, ast.Assert))


def _measured_names(function: ast.AST) -> set[str]:
    # `took = time.monotonic() - began`
    return {
        target.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and _reads_clock(node.value, set())
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _reads_clock(value: ast.AST, measured: set[str]) -> bool:
    for node in ast.walk(value):
        if isinstance(node, ast.Name) and node.id in measured:
            return True
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and _is_clock(node.left):
            return True
    return False


def _is_clock(value: ast.AST) -> bool:
    return isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] in CLOCKS


def _is_tight(check: ast.expr, measured: set[str]) -> bool:
    if not isinstance(check, ast.Compare) or not _reads_clock(check, measured):
        return False
    sides = [check.left, *check.comparators]
    rate = any(isinstance(each, ast.BinOp) and isinstance(each.op, ast.Div) for each in sides)
    return rate or any(
        isinstance(operator, (ast.Lt, ast.LtE))
        and _reads_clock(left, measured)
        and isinstance(right, ast.Constant)
        and isinstance(right.value, (int, float))
        and right.value < GENEROUS_SECONDS
        for left, operator, right in zip(sides, check.ops, check.comparators, strict=False)
    )
