"""`meterhall channels …`: wallet apps, their API keys and their signing keys."""

import re
from typing import Annotated

import typer

from chassis.output import as_json, fail, money, table
from services.billing.cli.session import run, settings, transaction

commands = typer.Typer(name="channels", help="Wallet apps, their API keys and their signing keys.")


@commands.command()
def create(
    id: Annotated[str, typer.Argument(help="lower-case letters, digits and hyphens")],
    name: Annotated[str, typer.Argument(help="what people call it")],
    limit: Annotated[
        int | None, typer.Option(help="largest payment, in minor units (default 5000000)")
    ] = None,
) -> None:
    """Create a channel."""
    from events.bounds import is_storable
    from services.billing.channels import create_channel
    from services.billing.channels.keys import DEFAULT_LIMIT_MINOR
    from services.billing.channels.tables import LONGEST_NAME

    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", id):
        fail(f"{id!r} can't be an id: use lower-case letters, digits and hyphens, at most 40.")
    if not 0 < len(name) <= LONGEST_NAME or not is_storable(name):
        fail(f"NAME must have 1 to {LONGEST_NAME} printable characters.")
    if limit is not None and not 0 < limit < 2**63:
        fail("--limit is in minor units and above 0: 5000000 is CNY 50,000.00.")

    async def work() -> bool:
        async with transaction() as connection:
            return await create_channel(connection, id, name, limit or DEFAULT_LIMIT_MINOR)

    if run(work()):
        print(f"Channel {id} is created. Give it a key: meterhall channels issue-key {id}")
    else:
        print(f"Channel {id} exists already; nothing was changed.")


@commands.command("issue-key")
def issue_key(id: Annotated[str, typer.Argument(help="the channel")]) -> None:
    """Print a new key of a channel, the only time that it is shown. Older keys stay valid."""
    from services.billing import channels

    async def work() -> str:
        async with transaction() as connection:
            return await channels.issue_key(connection, id)

    try:
        print(run(work()))
    except channels.UnknownChannelError:
        fail(f"There is no channel {id!r}: meterhall channels create {id} NAME")


@commands.command("revoke-key")
def revoke_key(
    key: Annotated[str, typer.Argument(metavar="KEY_OR_PREFIX", help="mh_…, or its middle part")],
) -> None:
    """Revoke a key; it stops within two seconds."""
    from chassis.http.bearer import prefix_of
    from services.billing import channels

    async def work() -> str | None:
        async with transaction() as connection:
            return await channels.revoke_key(connection, key)

    channel = run(work())
    if channel is None:
        # The key itself is not printed: it may still be valid.
        fail(f"No valid key has the prefix {prefix_of(key)[:8]!r}: see meterhall channels list")
    print(f"The key {prefix_of(key)} of {channel} is revoked.")


@commands.command("issue-signing-key")
def issue_signing_key(id: Annotated[str, typer.Argument(help="the channel")]) -> None:
    """Print a new key with which a channel signs its commands to Kafka. Older keys stay valid."""
    from services.billing import channels

    try:
        secret = channels.read_secret(settings())
    except channels.TrustError as error:
        fail(str(error))

    async def work() -> str:
        async with transaction() as connection:
            return await channels.issue_signing_key(connection, secret, id)

    try:
        print(run(work()))
    except channels.UnknownChannelError:
        fail(f"There is no channel {id!r}: meterhall channels create {id} NAME")


@commands.command("revoke-signing-key")
def revoke_signing_key(
    key: Annotated[str, typer.Argument(metavar="KEY_OR_PREFIX", help="mhs_…, or its middle part")],
) -> None:
    """Revoke a signing key; commands that it signed are refused two seconds later."""
    from chassis.http.bearer import prefix_of
    from services.billing import channels

    async def work() -> str | None:
        async with transaction() as connection:
            return await channels.revoke_signing_key(connection, key)

    channel = run(work())
    if channel is None:
        # The key itself is not printed: it may still be valid.
        fail(
            f"No valid signing key has the prefix {prefix_of(key)[:8]!r}: see meterhall channels list"
        )
    print(f"The signing key {prefix_of(key)} of {channel} is revoked.")


@commands.command("list")
def list_(json: Annotated[bool, typer.Option("--json", help="for a script")] = False) -> None:
    """Channels, their limits and the prefixes of their valid keys of both kinds."""
    from services.billing.channels.keys import list_channels

    async def work() -> list[dict[str, object]]:
        async with transaction() as connection:
            return [dict(row) for row in await list_channels(connection)]

    rows = run(work())
    if json:
        as_json(rows)
        return
    table(
        "Channels",
        ["id", "name", "open", "largest payment>", "keys!", "signing keys!"],
        [
            (
                row["id"],
                row["name"],
                "yes" if row["active"] else "no",
                money(int(str(row["max_payment_minor"])), "CNY").removesuffix(" CNY"),
                _lines(row["prefixes"]),
                _lines(row["signing_prefixes"]),
            )
            for row in rows
        ],
    )


def _lines(prefixes: object) -> str:
    return "\n".join(prefixes) if isinstance(prefixes, list) else ""
