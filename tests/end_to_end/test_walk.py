"""The walk of one payment, through the real processes: what `make walk` lists, and that its page tells the truth."""

from pathlib import Path

from sandbox.walk.__main__ import walk
from tests.support.pages import named_functions

PAGE = Path(__file__).parents[2] / "docs/architecture/payment.md"
# Not every loop that looks for work comes round in this time; how many functions there are is not asked here.
QUIET_SECONDS = 1.0


def test_a_payment_calls_what_its_page_names() -> None:
    made = walk(QUIET_SECONDS)
    titles = [step.title for step in made.steps]
    assert [title for title in titles if title != "timer"] == [
        "web: POST /v1/payments",
        "relay",
        "worker",
        "web: the PSP's webhooks",
        "web: the payment and its receipt",
    ]
    called = {*made.functions, *made.anyway}
    missing = [each for each in named_functions(PAGE.read_text()) if each not in called]
    assert not missing
    assert not any(file.startswith(("sandbox/", "tests/")) for file, _ in called)
