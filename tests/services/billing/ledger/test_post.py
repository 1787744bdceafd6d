"""The ledger keeps its promises: balanced, append-only, never overdrawn, booked once, also while others write."""

import asyncio
import random
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from events.ids import uuid7
from services.billing import ledger

NOW = datetime(2026, 11, 1, 8, tzinfo=UTC)
WALLET = ledger.wallet("app", "payer-1", "CNY")


async def post(engine: AsyncEngine, *transfers: ledger.Transfer) -> None:
    async with engine.begin() as connection:
        await ledger.post(connection, transfers)


async def hold(connection: AsyncConnection, *holds: ledger.Hold) -> None:
    await ledger.post(connection, [], await ledger.set_aside(connection, holds))


async def balances(engine: AsyncEngine) -> dict[str, tuple[int, int]]:
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("SELECT address, balance_minor, held_minor FROM ledger_accounts")
        )
        return {row.address: (row.balance_minor, row.held_minor) for row in rows}


async def test_a_payment_moves_money_from_the_wallet_to_the_biller(engine: AsyncEngine) -> None:
    await post(engine, ledger.top_up(uuid7(), WALLET, 1_000, NOW))
    await post(engine, ledger.pay_bill(uuid7(), WALLET, "power", 400, NOW))
    found = await balances(engine)
    assert found["wallet:app:payer-1"] == (600, 0)
    assert found["biller:power:payable"] == (400, 0)
    assert sum(balance for balance, _ in found.values()) == 0


async def test_a_wallet_cannot_be_overdrawn_and_nothing_of_the_batch_remains(
    engine: AsyncEngine,
) -> None:
    await post(engine, ledger.top_up(uuid7(), WALLET, 100, NOW))
    with pytest.raises(ledger.OverdrawnError):
        await post(
            engine,
            ledger.pay_bill(uuid7(), WALLET, "power", 60, NOW),
            ledger.pay_bill(uuid7(), WALLET, "water", 60, NOW),
        )
    assert (await balances(engine))["wallet:app:payer-1"] == (100, 0)


async def test_the_same_id_is_booked_once(engine: AsyncEngine) -> None:
    top_up = ledger.top_up(uuid7(), WALLET, 100, NOW)
    await post(engine, top_up)
    with pytest.raises(IntegrityError, match="pk_transfers"):
        await post(engine, top_up)
    assert (await balances(engine))["wallet:app:payer-1"] == (100, 0)


async def test_a_transfer_of_an_account_that_does_not_exist_is_refused(engine: AsyncEngine) -> None:
    transfer = ledger.top_up(uuid7(), WALLET, 100, NOW)
    for missing in (transfer.debit, transfer.credit):
        with pytest.raises(ledger.OrphanError):
            async with engine.begin() as connection:
                await ledger.post(connection, [transfer], known={missing: -1})
    assert await balances(engine) == {}
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM transfers")) == 0


async def test_held_money_cannot_be_spent_and_comes_back_when_voided(engine: AsyncEngine) -> None:
    await post(engine, ledger.top_up(uuid7(), WALLET, 100, NOW))
    hold_id = uuid7()
    async with engine.begin() as connection:
        wallet = (await ledger.find_accounts(connection, [WALLET]))[WALLET]
        await hold(connection, ledger.Hold(hold_id, wallet.id, 70))
        assert (await ledger.find_accounts(connection, [WALLET]))[WALLET] == (wallet.id, 30)
    with pytest.raises(ledger.OverdrawnError):
        await post(engine, ledger.pay_bill(uuid7(), WALLET, "power", 31, NOW))
    async with engine.begin() as connection:
        await ledger.void(connection, [hold_id])
        await ledger.void(connection, [hold_id])  # a second time changes nothing
    await post(engine, ledger.pay_bill(uuid7(), WALLET, "power", 100, NOW))
    assert (await balances(engine))["wallet:app:payer-1"] == (0, 0)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE transfers SET amount_minor = 1",
        "DELETE FROM transfers",
        "TRUNCATE transfers",
        "ALTER TABLE transfers DISABLE TRIGGER ALL",
        "SET session_replication_role = replica",
        "UPDATE ledger_accounts SET address = 'wallet:me'",
        "UPDATE ledger_accounts SET no_overdraft = false",
        "INSERT INTO transfers (id, created_at) VALUES (gen_random_uuid(), now())",
        "DELETE FROM ledger_accounts",
        "DROP TABLE transfers",
        "ALTER TABLE transfers OWNER TO billing_app",
        "INSERT INTO transfers SELECT * FROM transfers",
        "COPY transfers (id, created_at) FROM PROGRAM 'true'",
        "UPDATE holds SET amount_minor = 1",
    ],
)
async def test_the_application_may_not_rewrite_history(engine: AsyncEngine, statement: str) -> None:
    with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
        async with engine.begin() as connection:
            await connection.execute(text(statement))


async def test_concurrent_batches_over_the_same_accounts_agree_with_a_model(
    engine: AsyncEngine,
) -> None:
    """Twelve writers, shuffled batches over five wallets and three billers: no deadlock, no cent off."""
    wallets = [ledger.wallet("app", f"p{n}", "CNY") for n in range(5)]
    await post(engine, *(ledger.top_up(uuid7(), each, 1_000_000, NOW) for each in wallets))
    chance = random.Random(7)
    batches = []
    for _ in range(60):
        batches.append(
            [
                ledger.pay_bill(
                    uuid7(), chance.choice(wallets), f"biller-{chance.randrange(3)}", n + 1, NOW
                )
                for n in range(20)
            ]
        )
    for start in range(0, len(batches), 12):
        await asyncio.gather(*(post(engine, *batch) for batch in batches[start : start + 12]))
    model: dict[str, int] = {each.address: 1_000_000 for each in wallets}
    for each in (transfer for batch in batches for transfer in batch):
        model[each.debit.address] -= each.amount_minor
        model[each.credit.address] = model.get(each.credit.address, 0) + each.amount_minor
    found = await balances(engine)
    assert {name: found[name][0] for name in model} == model
    assert sum(balance for balance, _ in found.values()) == 0


async def test_random_histories_agree_with_a_model(engine: AsyncEngine) -> None:
    """A plain model beside the real ledger: what it refuses the ledger refuses, and nothing of it remains."""
    chance = random.Random(11)
    ids: dict[UUID, int] = {}
    held = refused = 0
    await post(engine, ledger.top_up(uuid7(), WALLET, 1, NOW))
    balance = 1
    async with engine.begin() as connection:
        account = (await ledger.find_accounts(connection, [WALLET]))[WALLET].id
    for _ in range(150):
        amount, id = chance.randrange(1, 60), uuid7()
        action = chance.choice(["top_up", "pay", "hold", "void", "post"])
        try:
            if action == "top_up":
                await post(engine, ledger.top_up(id, WALLET, amount, NOW))
                balance += amount
            elif action == "pay":
                await post(engine, ledger.pay_bill(id, WALLET, "b", amount, NOW))
                balance -= amount
            elif action == "hold":
                async with engine.begin() as connection:
                    await hold(connection, ledger.Hold(id, account, amount))
                ids[id], held = amount, held + amount
            elif ids:
                id, amount = ids.popitem()
                async with engine.begin() as connection:
                    if action == "void":
                        await ledger.void(connection, [id])
                    else:
                        transfer = ledger.pay_bill(id, WALLET, "b", amount, NOW)
                        released = await ledger.end_posted(connection, [id])
                        await ledger.post(connection, [transfer], released)
                        balance -= amount
                held -= amount
        except ledger.OverdrawnError:
            assert balance - held < amount, "only what the model can't pay may be refused"
            refused += 1
        found = await balances(engine)
        assert found["wallet:app:payer-1"] == (balance, held)
        assert sum(each for each, _ in found.values()) == 0
    assert refused > 5, "the history never tried to overdraw: it proves nothing"
