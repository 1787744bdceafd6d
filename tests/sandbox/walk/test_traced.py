"""The rules by which a called function counts, and by which it belongs to the payment."""

import sys
from io import StringIO
from pathlib import Path

from sandbox.walk.report import Part, Walk
from sandbox.walk.traced import Call, Recorder

SOURCE = """
class Dispatcher:
    names = [str(n) for n in range(2)]

    def run(self):
        return sorted(inner(n) for n in (1, 2)), [n for n in (1,)], (lambda: 0)()

def inner(n):
    def nested():
        return n
    return nested()

def never():
    pass
"""


def calls_of(root: Path, file: str, what: str) -> list[Call]:
    """Return the calls recorded while a module with SOURCE at this path is imported and one expression of it
    evaluated.
    """
    recorder = Recorder(root)
    module: dict[str, object] = {}
    sys.setprofile(recorder.hook)
    try:
        exec(compile(SOURCE, str(root / file), "exec"), module)  # noqa: S102 - our own text
        eval(what, module)  # noqa: S307 - our own text
    finally:
        sys.setprofile(None)
    taken = recorder.take()
    assert recorder.take() == [], "each call is told once"
    return taken


def test_functions_count_once_in_the_order_of_their_calls(tmp_path: Path) -> None:
    calls = calls_of(tmp_path, "errands/made.py", "(Dispatcher().run(), Dispatcher().run())")
    assert [(each.file, each.function) for each in calls] == [
        ("errands/made.py", "Dispatcher.run"),
        ("errands/made.py", "inner"),
        ("errands/made.py", "inner.<locals>.nested"),
    ]
    assert [each.seconds for each in calls] == sorted(each.seconds for each in calls)


def test_what_is_not_in_a_room_of_ours_does_not_count(tmp_path: Path) -> None:
    for file in ("sandbox/made.py", "site-packages/made.py", "errands/page.html", "made.py"):
        assert calls_of(tmp_path, file, "Dispatcher().run()") == []


def test_what_runs_without_a_payment_is_not_its_walk() -> None:
    loop, read, pay, show = (
        Call("errands/a.py", name, 0.0) for name in ("loop", "read", "pay", "s")
    )
    seal = Call("chassis/c.py", "seal", 2.0)
    other = Call("events/b.py", "_pay", 1.0)
    walk = Walk(
        [
            Part("web", "web", [loop, pay, read], [loop]),
            Part("worker", "worker", [loop, pay, other], [loop]),
            Part("timer", "timer", [loop, seal], [loop, seal]),
            Part("web again", "web", [pay, show], [loop], after=True),
        ]
    )
    assert [(step.title, len(step.functions)) for step in walk.steps] == [
        ("web", 2),
        ("worker", 2),
        ("web again", 1),
    ]
    made = walk.as_json()
    assert (made["files"], made["functions"], made["public"]) == (2, 4, 3)
    assert made["until_receipt"] == {"files": 2, "functions": 3, "public": 2}
    assert walk.anyway == [("errands/a.py", "loop")]
    text = StringIO()
    walk.write(text)
    assert "2 files, 4 functions (3 public)" in text.getvalue()
