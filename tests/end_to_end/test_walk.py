"""The functions that one payment passes in the real processes (`make walk`), compared with the page about them."""

from pathlib import Path

from sandbox.walk.__main__ import walk
from tests.support.pages import named_functions

PAGE = Path(__file__).parents[2] / "docs/architecture/payment.md"
# Too short for every polling loop to run once; this test does not need them.
QUIET_SECONDS = 1.0


def test_a_payment_calls_the_functions_that_its_page_names() -> None:
    walked = walk(QUIET_SECONDS)
    titles = [step.title for step in walked.steps]
    assert [title for title in titles if title != "timer"] == [
        "web: POST /v1/payments",
        "relay",
        "worker",
        "web: the PSP's webhooks",
        "web: the payment and its receipt",
    ]
    called = {*walked.functions, *walked.anyway}
    missing = [each for each in named_functions(PAGE.read_text()) if each not in called]
    assert not missing
    assert not any(file.startswith(("sandbox/", "tests/")) for file, _ in called)
