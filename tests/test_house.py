"""Rules of the sources: sizes, imports, names, tables that only their room reads, test paths, prose.

Exceptions are declared by name, here and in tests/support/tidy_declared.py. A declaration that is no longer needed
fails as well, so the lists only get shorter.
"""

from collections.abc import Mapping, Sequence, Set
from typing import TypeVar

from tests.support.house import (
    ROOMS,
    ROOT,
    Source,
    classes_of_one_name,
    full_folders,
    import_cycles,
    long_files,
    long_functions,
    sources,
)
from tests.support.rooms import SHARED, foreign_tables
from tests.support.tidy_declared import (
    DIALECT,
    FILE_WORDS,
    MIRRORED_MODULES,
    NAMED_AFTER_ROOMS,
    ONLY_TESTS_USE,
    RESERVED,
    SAME_FILE_NAME,
    TESTS_BY_TOPIC,
    TOPIC_FOLDERS,
)
from tests.support.tidy_names import names_without_callers
from tests.support.tidy_paths import mirrored_modules, shared_file_names, topical_tests
from tests.support.tidy_prose import dialect_counts, questioning_docstrings
from tests.support.timing import hasty_tests

KeyT = TypeVar("KeyT")

STILL_LONG_FUNCTIONS: set[tuple[str, str]] = set()
STILL_FULL_FOLDERS: set[str] = set()

# Folders whose public classes must have unique names, and the names that two classes share, with the reason.
NAMING = ("services", "errands", "messaging", "chassis", "events")
SAME_NAME = {
    "Settings": "each service reads its own from the environment",
    "NothingOwed": "a connector's response, and the outcome of a lookup in the contract",
}

# The auditor compares raw tables: that is its job. It has a folder of its own, or is a part of reconciliation.
AUDITORS = ("services/billing/audit", "services/billing/reconciliation")
# Tables of other rooms in SQL text, by file. The owner of a table declares all that others may use of it: a function, a
# condition, a view.
STILL_READ_ELSEWHERE: dict[str, set[str]] = {}

# Files that name code to run: `package.module:name`.
WIRING = [
    (ROOT / name).read_text()
    for name in ("pyproject.toml", "Makefile", "Dockerfile", "docker-compose.yml")
]


def test_no_file_is_too_long() -> None:
    assert not long_files(sources())


def test_no_function_is_too_long() -> None:
    assert_declared(long_functions(sources()), STILL_LONG_FUNCTIONS)


def test_no_folder_is_too_full() -> None:
    assert_declared(full_folders(sources()), STILL_FULL_FOLDERS)


def test_tests_that_measure_time_run_alone() -> None:
    assert not hasty_tests(sources(("tests",))), "mark it with pytest.mark.alone"


def test_no_modules_import_each_other_in_a_circle() -> None:
    files = sources()
    assert {each.path.split("/")[0] for each in files} == set(ROOMS), "every room is read"
    assert not import_cycles(files)


def test_public_classes_have_names_of_their_own() -> None:
    found = classes_of_one_name(sources(NAMING))
    assert_declared(set(found), set(SAME_NAME), found)


def test_only_its_room_reads_a_table() -> None:
    services = sorted(path.name for path in (ROOT / "services").iterdir() if path.is_dir())
    found: dict[str, set[str]] = {}
    for service in (
        name for name in services if (ROOT / "services" / name / "__init__.py").exists()
    ):
        found |= foreign_tables(without_the_auditor(sources((f"services/{service}", *SHARED))))
    pairs = {(file, table) for file, tables in found.items() for table in tables}
    assert_declared(
        pairs, {(file, table) for file, tables in STILL_READ_ELSEWHERE.items() for table in tables}
    )


def test_no_name_is_without_a_caller() -> None:
    unused = names_without_callers(sources(), others=sources(("tests", "migrations")), texts=WIRING)
    assert_declared(unused, set(RESERVED))


def test_no_name_has_callers_in_tests_only() -> None:
    unused = names_without_callers(sources(), others=sources(("migrations",)), texts=WIRING)
    assert_declared(unused, ONLY_TESTS_USE.keys() | RESERVED.keys())


def test_modules_share_only_the_file_words_of_the_house() -> None:
    found = shared_file_names(sources(), NAMED_AFTER_ROOMS)
    assert_declared(set(found), FILE_WORDS.keys() | SAME_FILE_NAME.keys(), found)


def test_a_test_file_mirrors_a_module_or_has_a_topic() -> None:
    declared = {path for paths in TESTS_BY_TOPIC.values() for path in paths}
    assert_declared(topical_tests(sources(("tests",)), sources(), TOPIC_FOLDERS), declared)


def test_modules_keep_their_test_files() -> None:
    assert len(mirrored_modules(sources(("tests",)), sources())) >= MIRRORED_MODULES


def test_docstrings_begin_with_the_thing_or_the_verb() -> None:
    assert not questioning_docstrings(sources((*ROOMS, "tests")))


def test_dialect_does_not_come_back() -> None:
    assert dialect_counts(sources(), DIALECT) == DIALECT, (
        "rewrite the sentence; lower the number when one has gone"
    )


def without_the_auditor(files: Sequence[Source]) -> list[Source]:
    """Return the files without the auditor's, except for the tables that it declares."""
    auditor = next(each for each in AUDITORS if (ROOT / each).is_dir())
    return [
        each
        for each in files
        if not each.path.startswith(f"{auditor}/") or each.path.endswith("/tables.py")
    ]


def assert_declared(
    found: Set[KeyT], declared: Set[KeyT], more: Mapping[KeyT, object] | None = None
) -> None:
    """Compare exceptions with their declarations: none is new, and no declaration is out of date."""
    details = more or {}
    new = {each: details.get(each, "") for each in found - declared}
    assert not new, f"not allowed in this house: {new}"
    assert not declared - found, f"no longer needed, take it off the list: {declared - found}"
