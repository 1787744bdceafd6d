"""Against the sandbox's PSP and billers over the network: what they say of a day is imported, booked and matched."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.china import CHINA, today
from events.ids import uuid7
from services.billing.audit import audit
from services.billing.bills.connectors import Application, Applied, Connectors, Unapplied
from services.billing.payments.model import serial_of
from services.billing.psp import Captured, Charge, Psp, Refunded
from services.billing.reconciliation import (
    Source,
    StatementImported,
    Unavailable,
    import_billers,
    import_file,
    import_psp,
    reconcile,
    report_day,
)
from services.billing.reconciliation.lines import PSP
from services.billing.reconciliation.report_day import read_lines
from services.billing.settings import Settings
from services.billing.subject import Kind, Subject
from tests.services.billing.reconciliation import books
from tests.support.billers import SandboxBillers
from tests.support.errands import institutions
from tests.support.psp import SandboxPsp

_CATALOGUE = text("""
    INSERT INTO billers (id, name_zh, name_en, currency, settled_by, connector, account_number_pattern,
        account_number_hint_zh, account_number_hint_en)
    VALUES (:id, :name_zh, :name_en, :currency, :settled_by, CAST(:connector AS jsonb), :account_number_pattern,
        :account_number_hint_zh, :account_number_hint_en)
    ON CONFLICT DO NOTHING
""")


@pytest.fixture
async def client(scratch: Path) -> AsyncIterator[tuple[SandboxPsp, Psp]]:
    """A PSP of this test's own, whose book holds nothing but the test's."""
    with SandboxPsp(scratch / f"psp-{uuid7().hex}") as provider:
        client = provider.client()
        yield provider, client
        await client.aclose()


async def take(psp: Psp, subject: Subject, amount: int) -> str:
    """The PSP captures; its intent's id."""
    answer = await psp.charge(Charge(subject, amount, "CNY", "pm_card_visa"))
    assert isinstance(answer, Captured)
    return answer.intent_id


async def kept(engine: AsyncEngine) -> dict[str, int]:
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT address, balance_minor FROM ledger_accounts"))
        return {row.address: row.balance_minor for row in rows}


async def test_the_psps_book_of_a_day_matches_item_by_item_and_its_fees_and_payouts_are_booked(
    engine: AsyncEngine, client: tuple[SandboxPsp, Psp]
) -> None:
    provider, psp = client
    now = datetime.now(UTC)
    paid = await books.pay(engine, [10_000, 20_000], at=now)
    topped = await books.top_up(engine, 5_000, at=now)
    back = await books.refund(engine, paid[0], 4_000, at=now)
    subjects = [*(Subject(Kind.PAYMENT, id) for id in paid), Subject(Kind.TOP_UP, topped)]
    intents = [
        await take(psp, subject, amount)
        for subject, amount in zip(subjects, [10_000, 20_000, 5_000], strict=True)
    ]
    refund = Subject(Kind.REFUND, back)
    assert isinstance(await psp.refund(refund, intents[0], 4_000, "CNY"), Refunded)
    assert provider.pay_out() is not None

    found = await import_psp(engine, psp, today())
    # Four movements and the payout, and a fee of each of the three charges.
    assert isinstance(found, StatementImported)
    assert (found.lines, found.changed, found.booked) == (8, True, 4)
    again = await import_psp(engine, psp, today())
    assert again == StatementImported(PSP, today(), 1, 8, changed=False, booked=0)

    (of_psp, *_) = (await reconcile(engine, today())).sources
    assert (of_psp.lines, of_psp.matched, of_psp.transfers, of_psp.breaks) == (8, 8, 8, 0)
    # Everything was paid out, so nothing is left in clearing: 0.6 % of 35,000 is the fee, the rest is at the bank.
    balances = await kept(engine)
    assert balances["psp:stripe:clearing"] == 0
    assert balances["expense:psp-fees"] == -210
    assert balances["bank:main"] == -(35_000 - 4_000 - 210)
    async with engine.connect() as connection:
        assert await audit(connection) == []


async def test_a_capture_that_we_do_not_know_of_yet_resolves_when_it_is_recorded(
    engine: AsyncEngine, client: tuple[SandboxPsp, Psp]
) -> None:
    _, psp = client
    (unknown,) = await books.pay(engine, [10_000], state="applied")
    await take(psp, Subject(Kind.PAYMENT, unknown), 10_000)
    await import_psp(engine, psp, today())
    await reconcile(engine, today())
    assert await books.open_breaks(engine, PSP) == [("missing_internal", "charge", str(unknown))]
    await books.book_payments(engine, [unknown], [10_000], at=datetime.now(UTC))
    await reconcile(engine, today())
    assert await books.open_breaks(engine, PSP) == []


async def test_a_psp_that_does_not_answer_changes_nothing(
    engine: AsyncEngine, client: tuple[SandboxPsp, Psp]
) -> None:
    provider, psp = client
    provider.stop()
    found = await import_psp(engine, psp, today())
    assert isinstance(found, Unavailable)
    assert (await books.everything(engine))["statements"] == []


@pytest.fixture
async def connectors(
    engine: AsyncEngine, billers: SandboxBillers, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Connectors]:
    """The sandbox's billers, as the catalogue has them."""
    monkeypatch.setenv("METERHALL_BILLER_SECRETS", str(billers.secrets_path))
    monkeypatch.setenv("METERHALL_DATA_DIR", str(billers.data_dir))
    rows = [row for row in billers.rows if row["kind"] == "biller"]
    async with engine.begin() as connection:
        for row in rows:
            await connection.execute(_CATALOGUE, {**row, "connector": json.dumps(row["connector"])})
    connectors = Connectors(
        engine, Settings(database_url=SecretStr("postgresql+asyncpg://")), institutions()
    )
    yield connectors
    await connectors.aclose()


def one_per_dialect(billers: SandboxBillers) -> list[str]:
    found: dict[str, str] = {}
    for row in billers.rows:
        if row["kind"] == "biller":
            found.setdefault(row["connector"]["dialect"], row["id"])
    return [id for dialect, id in sorted(found.items()) if dialect != "file"]


async def test_day_files_of_every_dialect_match_what_was_applied_and_unapplied(
    engine: AsyncEngine, billers: SandboxBillers, connectors: Connectors
) -> None:
    ids = one_per_dialect(billers)
    assert len(ids) == 3
    for biller in ids:
        connector = await connectors.of(biller)
        account = billers.accounts(biller)[0]
        amounts = [1_200, 3_400, 5_600]
        paid = await books.pay(engine, amounts[:2], biller=biller, at=datetime.now(UTC))
        (voided,) = await books.pay(engine, amounts[2:], biller=biller, state="voided")
        marks = {}
        for id, amount in zip([*paid, voided], amounts, strict=True):
            bill = billers.issue_bill(biller, account, amount)
            marks[id] = Application(serial_of(id), account, bill, amount, "CNY")
            assert isinstance(await connector.apply(marks[id]), Applied)
        assert isinstance(await connector.unapply(marks[voided]), Unapplied)
        await books.refund(engine, paid[1], 3_400, at=datetime.now(UTC))
        assert isinstance(await connector.unapply(marks[paid[1]]), Unapplied)
    imported = await import_billers(engine, connectors, today(), ids)
    assert [type(each) for each in imported] == [StatementImported] * 3
    found = {each.source.id: each for each in (await reconcile(engine, today())).sources}
    for biller in ids:
        # Other tests may have used the same biller today: their lines are not ours to judge here.
        async with engine.connect() as connection:
            mine = await connection.scalar(
                text("""
                    SELECT count(*) FROM matches m JOIN statement_lines l ON l.id = m.line_id
                    JOIN payments p ON p.id = l.our_id WHERE p.biller_id = :biller
                """),
                {"biller": biller},
            )
        assert mine == 5, "two applies, an unapply, and a pair that undoes itself"
        ours = {serial_of(id) for id in await _payments(engine, biller)}
        of_it = await books.open_breaks(engine, Source("biller", biller))
        assert not [each for each in of_it if each[2] in ours]
        assert found[biller].transfers == 3


async def test_a_biller_by_file_gets_our_day_file_and_its_answer_matches(
    engine: AsyncEngine,
    owner_engine: AsyncEngine,
    billers: SandboxBillers,
    connectors: Connectors,
) -> None:
    biller = next(
        row["id"] for row in billers.rows if row["kind"] == "biller" and row["settled_by"] == "file"
    )
    source = Source("biller", biller)
    day = date(2026, 3, 4)
    noon = datetime(2026, 3, 4, 12, tzinfo=CHINA)
    amounts = [100, 200, 300, 400, 500]
    paid = await books.pay(engine, amounts, biller=biller, at=noon)
    kept_, part, whole, yesterdays, unheard_of = paid
    account = billers.accounts(biller)[0]
    async with owner_engine.begin() as connection:
        for id, amount in list(zip(paid, amounts, strict=True))[:4]:
            await connection.execute(
                text(
                    "UPDATE bills SET bill_number = :number"
                    " WHERE id = (SELECT bill_id FROM payments WHERE id = :id)"
                ),
                {"number": billers.issue_bill(biller, account, amount), "id": id},
            )
    await books.refund(engine, part, 50, at=noon)
    await books.refund(engine, whole, 100, at=noon)
    await books.refund(engine, whole, 200, at=noon + timedelta(hours=1))
    await books.refund(engine, yesterdays, 400, at=noon + timedelta(days=1))
    lines = await read_lines(engine, biller, day)
    assert sorted((each.kind, each.serial, each.amount_minor) for each in lines) == sorted(
        [
            ("apply", serial_of(kept_), 100),
            ("apply", serial_of(part), 200),
            ("apply", serial_of(whole), 300),
            ("apply", serial_of(yesterdays), 400),
            ("apply", serial_of(unheard_of), 500),
            ("unapply", serial_of(whole), 300),
        ]
    )
    reported = {each.biller_id: each for each in await report_day(engine, connectors, day)}
    assert reported[biller].lines == 6
    content = reported[biller].path.read_bytes()
    await report_day(engine, connectors, day)
    assert reported[biller].path.read_bytes() == content, "again, it says the same"
    (early,) = await import_billers(engine, connectors, day, [biller])
    assert isinstance(early, Unavailable), "the biller has not answered yet"
    result = billers.answer_day_files(f"{day:%Y%m%d}")[biller]
    assert [each["serial"] for each in result["refused"]] == [serial_of(unheard_of)]
    (answered,) = await import_billers(engine, connectors, day, [biller])
    assert isinstance(answered, StatementImported)
    found = {each.source: each for each in (await reconcile(engine, day)).sources}[source]
    assert (found.lines, found.matched, found.breaks) == (5, 5, 1)
    assert await books.open_breaks(engine, source) == [
        ("missing_external", "apply", serial_of(unheard_of))
    ]


async def test_a_file_with_wrong_totals_is_refused_as_a_whole(
    engine: AsyncEngine, billers: SandboxBillers, connectors: Connectors
) -> None:
    biller = one_per_dialect(billers)[-1]
    found = await import_file(engine, connectors, biller, today(), b"2|300\n")
    assert isinstance(found, Unavailable)
    unknown = await import_file(engine, connectors, "no-such-biller", today(), b"0|0\n")
    assert isinstance(unknown, Unavailable)
    assert (await books.everything(engine))["statements"] == []


async def test_two_imports_at_once_make_one_statement(engine: AsyncEngine) -> None:
    lines = [books.charge(uuid7(), 100) for _ in range(200)]
    stored = await asyncio.gather(*(books.keep(engine, lines) for _ in range(6)))
    assert sum(each.changed for each in stored) == 1
    assert {each.version for each in stored} == {1}


async def _payments(engine: AsyncEngine, biller: str) -> list[UUID]:
    async with engine.connect() as connection:
        return list(
            await connection.scalars(
                text("SELECT id FROM payments WHERE biller_id = :biller"), {"biller": biller}
            )
        )
