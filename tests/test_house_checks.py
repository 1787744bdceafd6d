"""The checks of sizes, imports, classes and tables find planted faults."""

from collections.abc import Mapping

import pytest

from tests.support.house import (
    FULLEST_FOLDER,
    LONGEST_FILE,
    LONGEST_FUNCTION,
    Source,
    classes_of_one_name,
    full_folders,
    import_cycles,
    long_files,
    long_functions,
)
from tests.support.rooms import foreign_tables, named_tables, tables_of_rooms
from tests.test_house import assert_declared


def house(files: Mapping[str, str]) -> list[Source]:
    """Return sources from texts by path (without `.py`)."""
    return [Source(f"{path}.py", text) for path, text in files.items()]


def test_long_files_and_functions_are_found() -> None:
    body = "    x = 1\n"
    fits = "@decorated\n@again\ndef fits():\n" + body * (LONGEST_FUNCTION - 1)
    long = "class A:\n    async def long(self):\n" + f"    {body}" * LONGEST_FUNCTION
    lines = {"c": "\n" * LONGEST_FILE, "d": "\n" * (LONGEST_FILE + 1)}
    files = house({"a": fits, "b": long, **lines})
    assert long_functions(files) == {("b.py", "long")}
    assert long_files(files) == {"d.py"}


def test_a_docstring_is_a_part_of_its_function() -> None:
    text = 'def f():\n    """A\n' + "    line\n" * LONGEST_FUNCTION + '    """\n'
    assert long_functions(house({"a": text})) == {("a.py", "f")}


def test_full_folders_are_found_without_their_subfolders() -> None:
    fits = {f"a/f{n}": "" for n in range(FULLEST_FOLDER)}
    assert full_folders(house({**fits, "a/b/c": ""})) == set()
    assert full_folders(house({**fits, "a/__init__": ""})) == {"a"}


def test_circles_are_found() -> None:
    files = house(
        {
            "p/__init__": "from p.a import A\n",
            "p/a": "import q.b\n",
            "q/__init__": "",
            "q/b": "from .c import C\n",
            "q/c": "try:\n    from p import A\nexcept ImportError:\n    pass\n",
            "q/free": "from p import a\n",
        }
    )
    assert import_cycles(files) == [["p", "p.a", "q.b", "q.c"]]


@pytest.mark.parametrize(
    "back",
    [
        "def later():\n    from p.a import A\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.a import A\n",
        "import p\n",
        "from p import other\n",
    ],
)
def test_imports_that_close_no_circle_at_import_time_are_allowed(back: str) -> None:
    files = house({"p/__init__": "", "p/other": "", "p/a": "from p.b import B\n", "p/b": back})
    assert import_cycles(files) == []


def test_a_package_that_imports_the_importer_closes_a_circle() -> None:
    files = house(
        {
            "p/__init__": "from q.a import A\n",
            "p/deep": "",
            "q/__init__": "",
            "q/a": "import p.deep\n",
        }
    )
    assert import_cycles(files) == [["p", "q.a"]]


def test_classes_of_one_name_are_found() -> None:
    both = "class A: ...\nclass _B: ...\n"
    files = house({"a": both, "b": f"{both}class C: ...\n"})
    assert classes_of_one_name(files) == {"A": ["a.py", "b.py"]}


def test_rooms_own_the_tables_that_they_declare() -> None:
    files = house(
        {
            "services/s/bills/tables": 'bills = Table("bills", metadata)\n',
            "services/s/bills/other": 'others = Table("others", metadata)\n',
            "errands/tables": 'import sqlalchemy as sa\ndef f(m):\n    return sa.Table("errands", m)\n',
            "messaging/outbox/rows": 'def f(m):\n    return Table("outbox", m)\n',
        }
    )
    assert tables_of_rooms(files) == {
        "bills": "services/s/bills",
        "errands": "errands",
        "outbox": "messaging",
    }


@pytest.mark.parametrize(
    "source",
    [
        '"SELECT 1 FROM bills WHERE id = 1"',
        '"SELECT 1 FROM\\n    bills"',
        '"... LEFT JOIN bills b ON true"',
        '"INSERT INTO bills (id) VALUES (1)"',
        '"UPDATE ONLY bills SET id = 1"',
        '"TRUNCATE TABLE ONLY bills"',
        '"DELETE FROM billing.bills"',
        '"DELETE FROM x USING bills"',
        '"COPY bills FROM STDIN"',
        '"LOCK TABLE bills"',
        '"SELECT FROM x AS y, bills b"',
        '"SELECT EXISTS (SELECT FROM \\"bills\\")"',
        'f"SELECT {what} FROM bills"',
        'f"SELECT 1 FROM {schema}.bills"',
        "f\"SELECT {f('FROM bills')}\"",
        'text("SELECT 1 " "FROM bills")',
        'f"SELECT 1 FROM {name}"; NAMES = ("bills",)',
        'copy(connection, "bills", COLUMNS, rows)',
        'database.copy(connection, table="bills", columns=COLUMNS, rows=rows)',
    ],
)
def test_a_table_of_another_room_is_found(source: str) -> None:
    files = house(
        {
            "services/s/bills/tables": 'bills = Table("bills", metadata)\n',
            "services/s/pay/tables": 'payments = Table("payments", metadata)\n',
            "services/s/pay/a": f"x = {source}\n",
            "services/s/bills/deep/b": f"x = {source}\n",
            "services/s/c": f"x = {source}\n",
        }
    )
    assert foreign_tables(files) == {
        "services/s/pay/a.py": {"bills"},
        "services/s/c.py": {"bills"},
    }


@pytest.mark.parametrize(
    "source",
    [
        '"""Reads FROM bills."""',
        'x = "What comes from bills"',
        'x = {"bills": 1}',
        'x = "SELECT bills FROM unnest(:bills) AS given (bills)"',
        'x = f"FROM {something} bills"',
        'x = copy(rows, other, "bills")',
    ],
)
def test_texts_that_name_no_table_are_not_found(source: str) -> None:
    files = house({"a": f"{source}\n"})
    assert "bills" not in named_tables(files[0].tree)


def test_new_exceptions_and_outdated_declarations_fail() -> None:
    assert_declared({1}, {1})
    with pytest.raises(AssertionError, match="not allowed"):
        assert_declared({1, 2}, {1})
    with pytest.raises(AssertionError, match="take it off"):
        assert_declared({1}, {1, 2})
