"""The outcome of every fault, in every dialect and operation: unknown is never failed."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import pytest

from sandbox.billers.biller_faults import AFTER, BEFORE, KINDS
from sandbox.stand_in.fault_list import LATE
from services.billing.bills.connectors.dialect import Dialect
from services.billing.bills.connectors.http import HttpClient
from services.billing.bills.connectors.protocol import (
    Applied,
    BillerDown,
    BillerRefused,
    BillerUnknown,
    Found,
    NotApplied,
    Unapplied,
)
from tests.services.billing.bills.connectors.conftest import SPEAKERS, Customer, Customers, speaker
from tests.support.billers import SandboxBillers

# Little to wait for an answer that never comes; every other call has time, however busy the machine is.
HASTY_SECONDS = 0.3

pytestmark = pytest.mark.parametrize("dialect", SPEAKERS)
# Only what moves something can have its effect late.
every_kind = pytest.mark.parametrize("kind", KINDS)
every_kind_of_question = pytest.mark.parametrize("kind", [*BEFORE, *AFTER])

Strike = Callable[[str, str, str], Awaitable["Struck"]]


@pytest.fixture(autouse=True)
def well_again(billers: SandboxBillers) -> Iterator[None]:
    yield
    billers.clear_faults()


@dataclass
class Struck(Customer):
    """A customer whose biller errs at the next such operation; `hasty` is the connector to ask it with."""

    hasty: Dialect


@pytest.fixture
def struck(billers: SandboxBillers, client: HttpClient, customer: Customers) -> Strike:
    async def strike(dialect: str, operation: str, kind: str) -> Struck:
        who = await customer(dialect)
        hasty = who.dialect
        if kind == LATE or kind.startswith("timeout"):
            hasty = speaker(billers, client, who.biller, HASTY_SECONDS)
        seconds = 0.05 if kind == "delay" else 5.0
        billers.add_fault(who.biller, operation, kind, seconds=seconds, code="bill_already_paid")
        return Struck(who.dialect, who.account_number, who.bill, hasty)

    return strike


def booked(billers: SandboxBillers, serial: str) -> list[str]:
    return [line["kind"] for line in billers.book() if line["serial"] == serial]


@every_kind_of_question
async def test_lookup(dialect: str, kind: str, billers: SandboxBillers, struck: Strike) -> None:
    who = await struck(dialect, "lookup", kind)
    name = f"{who.biller}:lookup:{kind}"
    before = billers.fired().get(name, 0)
    answer = await who.hasty.lookup(who.account_number)
    assert isinstance(answer, Found if kind == "delay" else BillerDown)
    assert billers.fired()[name] == before + 1
    assert isinstance(await who.dialect.lookup(who.account_number), Found)


@every_kind
async def test_apply(dialect: str, kind: str, billers: SandboxBillers, struck: Strike) -> None:
    who = await struck(dialect, "apply", kind)
    application = who.application()
    answer = await who.hasty.apply(application)
    match kind:
        case "refuse":
            assert answer == BillerRefused("bill_already_paid")
        case "delay":
            assert isinstance(answer, Applied)
        case _:
            assert isinstance(answer, BillerUnknown)
    happened = kind in AFTER
    assert booked(billers, application.serial) == (["apply"] if happened else [])
    # The truth comes out by asking, and asking for it once more settles it.
    requested = await who.dialect.query(application)
    assert isinstance(requested, Applied if happened else NotApplied)
    assert isinstance(await who.dialect.apply(application), Applied)
    assert booked(billers, application.serial) == ["apply"]


@every_kind_of_question
async def test_query(dialect: str, kind: str, billers: SandboxBillers, struck: Strike) -> None:
    who = await struck(dialect, "query", kind)
    application = who.application()
    answer = await who.hasty.query(application)
    assert isinstance(answer, NotApplied if kind == "delay" else BillerUnknown)
    assert await who.dialect.query(application) == NotApplied()


@every_kind
async def test_unapply(dialect: str, kind: str, billers: SandboxBillers, struck: Strike) -> None:
    who = await struck(dialect, "unapply", kind)
    application = who.application()
    await who.dialect.apply(application)
    answer = await who.hasty.unapply(application)
    match kind:
        case "refuse":
            assert answer == BillerRefused("bill_already_paid")
        case "delay":
            assert answer == Unapplied()
        case _:
            assert isinstance(answer, BillerUnknown)
    happened = ["unapply"] if kind in AFTER else []
    assert booked(billers, application.serial) == ["apply", *happened]
    assert await who.dialect.unapply(application) == Unapplied()
    assert booked(billers, application.serial) == ["apply", "unapply"]
