"""The same id in two kinds, and what was booked before transfers of different kinds had ids of their own."""

from uuid import UUID, uuid5

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import derived_id, uuid7
from services.billing import ledger
from services.billing.psp import BalanceTransaction
from services.billing.reconciliation import reconcile
from services.billing.reconciliation.book import book_declared
from services.billing.reconciliation.lines import PSP, of_psp
from services.billing.subject import Kind, Subject
from tests.services.billing.reconciliation import books
from tests.services.billing.reconciliation.books import DAY, NOON

# Under this namespace fees and payouts were booked.
FORMERLY_DECLARED = UUID("6f2f3ad1-9c53-5d0e-8a53-4a2f6d7b1c90")


def line(
    category: str,
    amount: int,
    *,
    fee: int = 0,
    charge: Subject | None = None,
    refund: Subject | None = None,
) -> BalanceTransaction:
    """A line of the PSP's book."""
    id = f"txn_{uuid7().hex}"
    net = amount - fee
    return BalanceTransaction(
        id, category, category, amount, fee, net, "CNY", NOON, "src", "pi_1", refund, charge
    )


async def planted(engine: AsyncEngine, id: UUID) -> None:
    """A payment, a refund of another payment and a top-up, all of this id; 100, 30 and 50."""
    await books.pay(engine, [100], ids=[id])
    other = (await books.pay(engine, [30]))[0]
    await books.refund(engine, other, 30, id=id)
    await books.top_up(engine, 50, id=id)


async def test_three_kinds_of_one_id_are_three_lines(engine: AsyncEngine) -> None:
    id = uuid7()
    await planted(engine, id)
    async with engine.connect() as connection:
        others = list(
            await connection.scalars(text("SELECT id FROM payments WHERE id <> :id"), {"id": id})
        )
    ours = [
        line("charge", 100, charge=Subject(Kind.PAYMENT, id)),
        line("charge", 50, charge=Subject(Kind.TOP_UP, id)),
        line("charge", 30, charge=Subject(Kind.PAYMENT, others[0])),
        line("refund", -30, refund=Subject(Kind.REFUND, id)),
    ]
    await books.keep(engine, of_psp(ours))
    await reconcile(engine, DAY)
    assert await books.open_breaks(engine, PSP) == []


async def test_each_missing_kind_is_a_break_of_its_own(engine: AsyncEngine) -> None:
    id = uuid7()
    await planted(engine, id)
    await books.keep(engine, [])
    for _ in range(2):
        await reconcile(engine, DAY)
        found = await books.open_breaks(engine, PSP)
        assert found.count(("missing_external", "charge", str(id))) == 2
        assert found.count(("missing_external", "refund", str(id))) == 1
    # The payment's line comes: the top-up is still missed.
    await books.keep(engine, of_psp([line("charge", 100, charge=Subject(Kind.PAYMENT, id))]))
    await reconcile(engine, DAY)
    found = await books.open_breaks(engine, PSP)
    assert found.count(("missing_external", "charge", str(id))) == 1


async def test_lines_without_ours_are_no_duplicates_of_each_other(engine: AsyncEngine) -> None:
    id = uuid7()
    lines = [
        line("charge", 100, charge=Subject(Kind.PAYMENT, id)),
        line("charge", 50, charge=Subject(Kind.TOP_UP, id)),
    ]
    await books.keep(engine, of_psp(lines))
    await reconcile(engine, DAY)
    assert await books.open_breaks(engine, PSP) == [("missing_internal", "charge", str(id))] * 2


async def test_our_own_return_of_money_is_not_a_channels_refund(engine: AsyncEngine) -> None:
    """A refund of the same id stands in our books: the give-back of a payment must not consume it."""
    id = uuid7()
    other = (await books.pay(engine, [30]))[0]
    await books.refund(engine, other, 30, id=id)
    lines = [
        line("charge", 30, charge=Subject(Kind.PAYMENT, other)),
        line("charge", 30, charge=Subject(Kind.PAYMENT, id)),
        line("refund", -30, refund=Subject(Kind.PAYMENT, id)),
    ]
    await books.keep(engine, of_psp(lines))
    await reconcile(engine, DAY)
    assert await books.open_breaks(engine, PSP) == [
        ("missing_external", "refund", str(id)),
        ("missing_internal", "charge", str(id)),
        ("missing_internal", "refund", str(id)),
    ]


async def test_a_line_booked_under_a_former_id_matches_by_that_id(engine: AsyncEngine) -> None:
    """Fees, payouts, refunds and top-ups: imported once more, none is booked again, and all match."""
    paid = (await books.pay(engine, [1_000]))[0]
    refund_id, top_up_id = uuid7(), uuid7()
    await books.refund(engine, paid, 300, id=refund_id, transfer_id=refund_id)
    await books.top_up(engine, 50, id=top_up_id, transfer_id=top_up_id)
    charge = line("charge", 1_000, fee=6, charge=Subject(Kind.PAYMENT, paid))
    payout, fee = line("payout", -500), line("fee", -7)
    await books.post(
        engine,
        [
            ledger.psp_fee(uuid5(FORMERLY_DECLARED, f"{charge.id}:kept"), "CNY", 6, NOON),
            ledger.psp_fee(uuid5(FORMERLY_DECLARED, f"{fee.id}:fee"), "CNY", 7, NOON),
            ledger.psp_settlement(
                uuid5(FORMERLY_DECLARED, f"{payout.id}:payout"), "CNY", 500, NOON
            ),
        ],
    )
    lines = [
        charge,
        payout,
        fee,
        line("refund", -300, refund=Subject(Kind.REFUND, refund_id)),
        line("charge", 50, charge=Subject(Kind.TOP_UP, top_up_id)),
    ]
    stored = await books.keep(engine, of_psp(lines))
    assert await book_declared(engine, stored.statement_id) == 0
    await reconcile(engine, DAY)
    assert await books.open_breaks(engine, PSP) == []


async def test_a_payment_can_not_pose_as_a_booked_fee(engine: AsyncEngine) -> None:
    """A channel chooses the id that the fee would formerly have had: the fee is booked all the same."""
    fee = line("fee", -7)
    former = uuid5(FORMERLY_DECLARED, f"{fee.id}:fee")
    await books.pay(engine, [100], ids=[former])
    stored = await books.keep(engine, of_psp([fee]))
    assert await book_declared(engine, stored.statement_id) == 1
    async with engine.connect() as connection:
        kinds = await connection.execute(
            text("SELECT kind FROM transfers WHERE id = :id"),
            {"id": derived_id("psp_fee", fee.id)},
        )
        assert list(kinds.scalars()) == ["psp_fee"]
