"""`meterhall ledger`: the trial balance, the statement of an account, and the seals."""

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from chassis.china import CHINA, bounds_of, today
from chassis.output import as_json, fail, money, table
from services.billing.cli.session import run, transaction

if TYPE_CHECKING:
    from services.billing.ledger import Statement, TrialBalance, Verified

commands = typer.Typer(name="ledger", help="The books: trial balance, account statements, seals.")

AsJson = Annotated[bool, typer.Option("--json", help="For a script.")]
DAY = "%Y-%m-%d"


@commands.command("trial-balance")
def trial_balance(
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", formats=[DAY], help="What had occurred by the end of this day."),
    ] = None,
    wallets: Annotated[
        bool, typer.Option("--wallets", help="List every wallet; as a rule they are one row.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Show debits, credits and balance of every account; exit 1 when the books do not balance."""
    from services.billing import ledger

    async def read() -> "TrialBalance":
        until = bounds_of(as_of.date())[1] if as_of else None
        async with transaction() as connection:
            return await ledger.trial_balance(connection, until, list_wallets=wallets)

    found = run(read())
    if json:
        as_json(_as_dict(found))
    else:
        _print(found, "now" if as_of is None else f"at the end of {as_of:%Y-%m-%d}")
    if not found.balanced:
        fail("The books do not balance: " + "; ".join(found.faults[:10]))


@commands.command("statement")
def statement(
    address: Annotated[str, typer.Argument(help="wallet:<channel>:<payer>, biller:<id>:payable …")],
    currency: Annotated[str, typer.Option("--currency")] = "CNY",
    since: Annotated[
        datetime | None, typer.Option("--from", formats=[DAY], help="30 days ago, as a rule.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", formats=[DAY], help="The last day; today, as a rule.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Show an account's opening balance, a line per transfer, and its closing balance. Days are Asia/Shanghai's."""
    from services.billing import ledger

    last = until.date() if until else today()
    first = since.date() if since else last - timedelta(days=30)

    async def read() -> "Statement":
        async with transaction() as connection:
            return await ledger.statement(
                connection,
                address,
                currency.upper(),
                bounds_of(first)[0],
                bounds_of(last)[1],
            )

    try:
        found = run(read())
    except ledger.NoSuchAccountError as error:
        fail(f"{error}. See them with: meterhall ledger trial-balance --wallets")
    if json:
        as_json(_statement_as_dict(found, first, last))
        return
    _print_statement(found, f"{address}, {first} to {last}")


@commands.command("verify")
def verify(
    anchor: Annotated[
        str, typer.Option("--anchor", help="A digest that you kept, in hex: is it one of ours?")
    ] = "",
    json: AsJson = False,
) -> None:
    """Compute every seal again; exit 1 when a sealed transfer was changed, added or taken away."""
    from services.billing import ledger

    async def read() -> "Verified":
        async with transaction() as connection:
            return await ledger.verify(connection, _digest(anchor))

    found = run(read())
    if json:
        as_json(_verified(found))
    elif not found.seals:
        print("Nothing is sealed yet. The timer seals each minute, a minute after its end.")
    else:
        print(f"{found.seals:,} seals over {found.transfers:,} transfers, until {found.until}.")
        print(f"The last digest, to keep elsewhere: {found.digest.hex()}")
        if found.anchored_until and not found.broken:
            print(f"Yours is the seal until {found.anchored_until}: nothing before was changed.")
    if found.broken:
        details = "; ".join(
            f"{each.seal.since} to {each.seal.until}: {each.what}" for each in found.broken[:10]
        )
        fail(f"{len(found.broken)} seals are broken: {details}")
    if anchor and not found.anchored_until:
        fail("No seal has this digest: the ledger that it was taken of is not this one.")


def _verified(found: "Verified") -> dict[str, object]:
    return {
        "seals": found.seals,
        "transfers": found.transfers,
        "since": found.since,
        "until": found.until,
        "digest": found.digest.hex(),
        "anchored_until": found.anchored_until,
        "broken": [
            {"since": each.seal.since, "until": each.seal.until, "what": each.what}
            for each in found.broken
        ],
    }


def _digest(typed: str) -> bytes | None:
    try:
        return bytes.fromhex(typed) if typed else None
    except ValueError:
        fail(
            "A digest is written in 64 hexadecimal digits, as `meterhall ledger verify` prints it."
        )


def _print(found: "TrialBalance", when: str) -> None:
    rows: list[tuple[object, ...]] = []
    for currency in sorted({row.currency for row in found.rows}):
        of_it = [row for row in found.rows if row.currency == currency]
        for row in of_it:
            name = f"{row.account} ({row.accounts})" if row.account == "wallet:*" else row.account
            amounts = (row.debits_minor, row.credits_minor, row.balance_minor)
            rows.append((name, *(money(amount, currency) for amount in amounts)))
        totals = (
            sum(row.debits_minor for row in of_it),
            sum(row.credits_minor for row in of_it),
            sum(row.balance_minor for row in of_it),
        )
        rows.append(("total", *(money(amount, currency) for amount in totals)))
    table(f"Trial balance {when}", ("account", "debits>", "credits>", "balance>"), rows)


def _as_dict(found: "TrialBalance") -> dict[str, object]:
    return {
        "as_of": found.as_of,
        "balanced": found.balanced,
        "faults": found.faults,
        "rows": [
            {
                "currency": row.currency,
                "account": row.account,
                "accounts": row.accounts,
                "debits_minor": row.debits_minor,
                "credits_minor": row.credits_minor,
                "balance_minor": row.balance_minor,
            }
            for row in found.rows
        ],
    }


def _statement_as_dict(found: "Statement", first: date, last: date) -> dict[str, object]:
    return {
        "address": found.address,
        "currency": found.currency,
        "from": first,
        "to": last,
        "opening_minor": found.opening_minor,
        "lines": [{name: getattr(line, name) for name in line.__slots__} for line in found.lines],
        "closing_minor": found.closing_minor,
    }


def _print_statement(found: "Statement", title: str) -> None:
    rows: list[tuple[object, ...]] = [
        ("", "opening balance", "", money(found.opening_minor, found.currency))
    ]
    for line in found.lines:
        rows.append(
            (
                f"{line.occurred_at.astimezone(CHINA):%m-%d %H:%M}",
                f"{line.kind} {line.counter_account}\n{line.transfer_id}",
                money(line.amount_minor, found.currency),
                money(line.balance_minor, found.currency),
            )
        )
    rows.append(("", "closing balance", "", money(found.closing_minor, found.currency)))
    table(title, ("when", "what", "amount>", "balance>"), rows)
