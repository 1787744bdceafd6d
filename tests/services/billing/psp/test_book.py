"""The PSP's own book of our money: what it says of our charges and refunds, and all of its pages."""

from datetime import UTC, datetime, timedelta

from services.billing.psp import Psp
from tests.services.billing.psp.conftest import Till
from tests.support.factories import a_refund


async def test_the_book_of_our_money(client: Psp, till: Till) -> None:
    since = datetime.now(UTC) - timedelta(days=1)
    payment, intent_id = await till.taken()
    refund = a_refund()
    await client.refund(refund, intent_id, 850, "CNY")
    lines = await client.balance_transactions(since, since + timedelta(days=10))
    assert isinstance(lines, list)
    ours = [line for line in lines if line.intent_id == intent_id]
    assert [
        (line.type, line.amount_minor, line.fee_minor, line.net_minor, line.currency)
        for line in ours
    ] == [("refund", -850, 0, -850, "CNY"), ("charge", 8850, 53, 8797, "CNY")]
    assert [(line.charge, line.refund) for line in ours] == [
        (None, refund),
        (payment, None),
    ]
    assert await client.balance_transactions(since - timedelta(days=9), since) == []


async def test_the_book_comes_in_pages(client: Psp, till: Till) -> None:
    since = datetime.now(UTC) - timedelta(days=1)
    taken = {(await till.taken())[0] for _ in range(101)}
    lines = await client.balance_transactions(since, since + timedelta(days=10))
    assert isinstance(lines, list)
    assert taken <= {line.charge for line in lines}
    assert len({line.id for line in lines}) == len(lines)
