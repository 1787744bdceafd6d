"""One table has every problem type: what is raised stands in it, and what stands in it is raised."""

import ast
import inspect
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from chassis.http import problems
from chassis.http.problems import Problem, ProblemType
from services.billing.bills import find
from services.billing.docs_pages import problem_types
from services.billing.docs_pages.problem_types import PROBLEM_TYPES
from services.billing.door.objections import OBJECTIONS
from services.billing.payments import accept
from services.billing.top_ups import decide

ROOT = Path(__file__).parents[4]
TABLE = ROOT / "services/billing/docs_pages/problem_types.py"
SOURCES = {
    path: ast.parse(path.read_text())
    for room in ("services", "chassis")
    for path in sorted((ROOT / room).rglob("*.py"))
}
DECLARED = {
    name: each
    for module in (problems, problem_types)
    for name, each in vars(module).items()
    if isinstance(each, ProblemType)
}


def test_every_type_that_is_declared_is_explained_under_a_slug_of_its_own() -> None:
    assert sorted(each.slug for each in DECLARED.values()) == sorted(PROBLEM_TYPES)
    assert set(DECLARED.values()) == set(PROBLEM_TYPES.values())
    assert all(slug == each.slug for slug, each in PROBLEM_TYPES.items())


def test_a_type_is_declared_in_the_table_or_by_the_chassis_and_nowhere_else() -> None:
    """Problem takes nothing but a ProblemType, so every problem that is raised stands in the table."""
    declaring = {path for path in SOURCES for _ in calls(path, "ProblemType")}
    assert declaring == {TABLE, ROOT / "chassis/http/problems.py"}
    raising = {path for path in SOURCES for _ in calls(path, "Problem")}
    assert len(raising) > 10, "the sources are read"


def test_every_type_of_the_table_is_raised() -> None:
    used = Counter(
        node.id if isinstance(node, ast.Name) else node.attr
        for path, tree in SOURCES.items()
        if path != TABLE
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load)
    )
    assert not [name for name in DECLARED if not used[name]]


def test_every_reason_against_a_payment_or_a_top_up_is_an_objection() -> None:
    reasons = {"bill_already_paid"}  # found by who holds the bill
    for module in (accept, decide, find):
        tree = ast.parse(inspect.getsource(module))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == "reason_against":
                returned = [each.value for each in ast.walk(node) if isinstance(each, ast.Return)]
                reasons |= {text for each in returned if each for text in texts(each)}
    assert reasons == OBJECTIONS.keys()


@pytest.mark.parametrize("slug", PROBLEM_TYPES)
def test_a_problem_says_what_the_table_says(slug: str) -> None:
    about = PROBLEM_TYPES[slug]
    plain, exact = Problem(about), Problem(about, "This one.", status=418, more=1)
    assert (plain.status, plain.body["type"]) == (about.status, f"/problems/{slug}")
    assert (plain.body["title"], plain.body["status"]) == (about.title, about.status)
    assert plain.body["detail"] == f"{about.means} {about.do}"
    assert (exact.status, exact.body["status"], exact.body["detail"]) == (418, 418, "This one.")
    assert exact.body["more"] == 1


def calls(path: Path, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(SOURCES[path]):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name:
            yield node


def texts(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value
