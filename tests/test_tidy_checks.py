"""The checks of names, prose, paths and documents find planted faults, and pass their opposites."""

from pathlib import Path

import pytest
from typer import Typer
from typer.main import get_command

from tests.support.house import Source
from tests.support.tidy_docs import (
    anchors,
    commands,
    dead_links,
    documents,
    make_targets,
    missing_paths,
    unknown_command,
)
from tests.support.tidy_names import names_without_callers
from tests.support.tidy_paths import mirrored_modules, shared_file_names, topical_tests
from tests.support.tidy_prose import comments, dialect_counts, questioning_docstrings
from tests.test_house_checks import house

USED = "def used(): ...\n"


@pytest.mark.parametrize("start", ["What", "Who", "How", "Whether"])
def test_questioning_docstrings_are_found(start: str) -> None:
    module = (
        f'"""{start} is paid."""\nclass A:\n    """{start}."""\n'
        f'    async def f(self):\n        """\n        {start} x."""\n'
    )
    assert questioning_docstrings(house({"a": module})) == {
        ("a.py", "the module"),
        ("a.py", "A"),
        ("a.py", "f"),
    }


def test_statements_are_no_questions() -> None:
    text = '"""However it ends.\n\nWhat is paid."""\nx = "What"\ndef f():\n    """Return it."""\n'
    assert not questioning_docstrings(house({"a": text}))


def test_dialect_is_counted_in_docstrings_and_comments_only() -> None:
    text = (
        '"""Whoever asks, tell\nnobody   outside."""\n# It is for nobody\n# outside, whoever.\n'
        'x = "whoever"  # none\nwhoever = 1\n'
    )
    counts = dialect_counts(house({"a": text}), {"whoever": 0, "nobody outside": 0, "is told": 0})
    assert counts == {"whoever": 2, "nobody outside": 2, "is told": 0}


def test_lines_of_comment_that_follow_each_other_are_one_text() -> None:
    text = "# one\n# two\nx = 1  # three\n\n# four\n"
    assert list(comments(Source("a.py", text))) == ["one two three", "four"]


@pytest.mark.parametrize(
    "definition",
    [
        USED,
        "async def used(): ...\n",
        "class used: ...\n",
        "used = 1\n",
        "used: int = 1\n",
        "used, other = 1, 2\nother\n",
        "try:\n    used = 1\nexcept ImportError:\n    used = 2\n",
        "def used(): return used()\n",
        "@cache\ndef used(): ...\n",
        "@dataclasses.dataclass(frozen=True)\nclass used:\n    def copy(self): return used()\n",
        USED + '__all__ = ["used"]\n',
    ],
)
def test_names_without_callers_are_found(definition: str) -> None:
    files = house({"p/a": definition, "p/b": "from p.a import used\n", "q": "used = 1\nused\n"})
    assert names_without_callers(files, []) == {("p/a.py", "used")}


@pytest.mark.parametrize(
    "caller",
    [
        "from p.a import used\nused()\n",
        "def later():\n    from p.a import used as alias\n    alias()\nlater()\n",
        "import p.a\np.a.used()\n",
        "import p.a as module\nmodule.used()\n",
        "from p import a\na.used()\n",
        "import p\np.used()\n",
        "from p import used\nused()\n",
        "from .a import used\nused()\n",
        "from p.a import used\nx: 'used'\nx\n",
        "run('p.a:used')\n",
    ],
)
def test_names_with_callers_are_not_found(caller: str) -> None:
    files = house({"p/__init__": "from p.a import used\n", "p/a": USED, "p/b": caller})
    assert not names_without_callers(files, [])


@pytest.mark.parametrize(
    "definition",
    [
        "__private__ = 1\n",
        "@routes.get('/')\ndef page(): ...\n",
        "@pytest.fixture\ndef wallet(): ...\n",
        "bills = Table('bills', metadata)\n",
        USED + "used()\n",
    ],
)
def test_dunder_registered_and_used_names_are_no_dead_code(definition: str) -> None:
    assert not names_without_callers(house({"a": definition}), [])


def test_callers_in_tests_and_in_configuration_count_where_they_are_given() -> None:
    product, tests = house({"a": USED}), house({"tests/test_a": "from a import used\nused()\n"})
    assert names_without_callers(product, []) == {("a.py", "used")}
    assert not names_without_callers(product, tests)
    assert not names_without_callers(product, [], ['meterhall = "a:used"'])


def test_shared_file_names_are_found() -> None:
    files = house({"a/city": "", "b/city": "", "cli/city": "", "b/town": "", "cli/town": ""})
    assert shared_file_names(files) == {
        "city": ["a/city.py", "b/city.py", "cli/city.py"],
        "town": ["b/town.py", "cli/town.py"],
    }
    assert shared_file_names(files, {"cli"}) == {"city": ["a/city.py", "b/city.py"]}


def test_test_files_mirror_modules_and_packages() -> None:
    product = house({"a/queue": "", "a/box/__init__": "", "a/door/__init__": "", "a/line": ""})
    names = ["queue", "queue_cost", "box", "line/test_moves", "door/test_door", "queues", "city"]
    paths = [name if "/" in name else f"test_{name}" for name in names]
    tests = house({f"tests/a/{path}": "" for path in [*paths, "conftest"]})
    assert topical_tests(tests, product) == {"a/test_queues.py", "a/test_city.py"}
    assert topical_tests(tests, product, {"a"}) == set()
    assert mirrored_modules(tests, product) == {
        "a/queue.py",
        "a/box/__init__.py",
        "a/door/__init__.py",
        "a/line.py",
    }


def test_dead_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/b.md").write_text(
        "# The `b` page\n## Twice\n## Twice\n```\n# no heading\n```\n"
    )
    page = tmp_path / "a.md"
    page.write_text(
        "# Top\n[b](docs/b.md) [b](docs/b.md#the-b-page) [](docs/b.md#twice-1) [](#top) [![x](docs)](https://x)\n"
        '```\n[code](none)\n```\n[c](c.md) [b](docs/b.md#no-heading) [](#none) ![p](p.png) [t](<t.md> "title")\n'
    )
    assert dead_links(page) == ["c.md", "docs/b.md#no-heading", "#none", "p.png", "t.md"]


def test_headings_have_the_anchors_of_github() -> None:
    text = '# A: b, [c](d.md) & `e_f`!\n## 水电 a\n<a id="own"></a>\n'
    assert anchors(text) == {"a-b-c--e_f", "水电-a", "own"}


def test_installed_packages_are_no_documents(tmp_path: Path) -> None:
    for folder in ("docs", ".venv/lib", ".github"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.md").touch()
    assert documents(tmp_path) == [tmp_path / ".github/a.md", tmp_path / "docs/a.md"]


def test_missing_paths_are_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.py").touch()
    text = "`docs/a.py` `docs/` `docs/*.py` `docs/{a,b}.py` `docs/c.py:12` `a.py` `d.py` `text/html` `docs/a.py x`"
    assert missing_paths(text, tmp_path) == {"docs/{a,b}.py", "docs/c.py:12", "d.py"}


def test_commands_are_read_from_code_and_from_fences() -> None:
    text = (
        "Run `hall up` or `hall pay <id> --now | jq`, not hall down; `overhall up`.\n"
        "```console\n$ A=b hall list  # all\n.venv/bin/hall show \\\n  --json\nhall\nthe hall x\n```\n"
    )
    assert commands(text, "hall") == [
        ["up"],
        ["pay", "<id>", "--now"],
        ["list"],
        ["show", "--json"],
        [],
    ]


def test_unknown_commands_and_options_are_found() -> None:
    group, app = Typer(name="bills"), Typer()

    @group.command("list")
    def list_bills(due: bool = False) -> None: ...

    @group.command()
    def show(bill: str) -> None: ...

    app.add_typer(group)
    program = get_command(app)
    for known in ("bills", "bills list --due", "bills show ID", "bills show some-id --help"):
        assert unknown_command(known.split(), program) is None
    for unknown in ("bill list", "bills lost", "bills list --paid"):
        assert unknown_command(unknown.split(), program) in {"bill", "lost", "--paid"}


def test_make_targets_are_read() -> None:
    assert make_targets("A := b\n.PHONY: up\nup: x  ## start\n\tcommand: no\nlock-all:\n") == {
        "up",
        "lock-all",
    }
