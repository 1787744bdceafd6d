"""The operator's commands: channels and their tokens, endpoints, deliveries."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from chassis import output
from chassis.command import read_settings
from chassis.output import fail, table

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.notifications.deliveries.follow import Followed
    from services.notifications.settings import Settings

commands = typer.Typer(
    name="notifications",
    help="Recipients of mail and webhooks, and deliveries.",
    no_args_is_help=True,
)
channel = typer.Typer(help="Channels and their tokens.", no_args_is_help=True)
endpoint = typer.Typer(help="Where webhooks go.", no_args_is_help=True)
commands.add_typer(channel, name="channel")
commands.add_typer(endpoint, name="endpoint")


@channel.command("add")
def add(
    channel: Annotated[str, typer.Argument(help="the channel's id, as billing knows it")],
) -> None:
    """Add a channel, or give a known channel another token. The token is shown once."""
    from services.notifications.recipients.tokens import add_channel

    _check_channel(channel)

    async def work() -> str:
        async with _transaction() as connection:
            return await add_channel(connection, channel)

    print(asyncio.run(work()))


@channel.command("revoke")
def revoke(token: Annotated[str, typer.Argument(help="a token, or its prefix")]) -> None:
    """Revoke a token. It stops working within two seconds."""
    from services.notifications.recipients.tokens import revoke_token

    async def work() -> str | None:
        async with _transaction() as connection:
            return await revoke_token(connection, token)

    # A token is ASCII; the database could not even search for some other texts.
    belonged_to = asyncio.run(work()) if token.isascii() else None
    if belonged_to is None:
        fail("there is no such token, or it is revoked already")
    print(f"revoked a token of {belonged_to}")


@endpoint.command("set")
def set_(
    channel: str,
    url: str,
    rotate: Annotated[bool, typer.Option(help="make a new secret; both sign for 24 hours")] = False,
) -> None:
    """Send a channel's webhooks to URL. A new secret is shown once."""
    from sqlalchemy.exc import IntegrityError

    from services.notifications.recipients.endpoints import set_endpoint
    from services.notifications.recipients.urls import check_url

    _check_channel(channel)
    try:
        checked = check_url(url, allow_loopback=_settings().webhook_allow_loopback)
    except ValueError as error:
        fail(str(error))

    async def work() -> str | None:
        async with _transaction() as connection:
            return await set_endpoint(connection, channel, checked, rotate=rotate)

    try:
        secret = asyncio.run(work())
    except IntegrityError:
        fail(f"there is no channel {channel!r}: `meterhall notifications channel add {channel}`")
    print(secret or "set; the secret is unchanged")


@commands.command()
def deliveries(
    failed: Annotated[
        bool, typer.Option("--failed", help="only those that failed for good")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="for a script")] = False,
) -> None:
    """List the newest deliveries."""
    from services.notifications.deliveries.follow import list_deliveries

    async def work() -> Sequence["Followed"]:
        async with _transaction() as connection:
            return await list_deliveries(
                connection, limit=limit, status="failed" if failed else None
            )

    rows = asyncio.run(work())
    if as_json:
        output.as_json([asdict(row) for row in rows])
    else:
        _print_table(rows)


@commands.command()
def retry(delivery_id: UUID) -> None:
    """Send a failed delivery again."""
    from services.notifications.deliveries import follow

    async def work() -> bool:
        async with _transaction() as connection:
            return await follow.retry(connection, delivery_id)

    if not asyncio.run(work()):
        fail(
            "there is no failed delivery of this id: see `meterhall notifications deliveries --failed`"
        )
    print("due now")


def _check_channel(channel: str) -> None:
    from services.notifications.recipients.tokens import check_channel

    try:
        check_channel(channel)
    except ValueError as error:
        fail(str(error))


def _print_table(rows: Sequence["Followed"]) -> None:
    table(
        "Deliveries, the newest first",
        ("delivery!", "event", "by", "status", "tries>", "reason"),
        (
            (
                row.id,
                row.event_type.removeprefix("meterhall.").rpartition(".")[0],
                row.medium,
                row.status,
                row.attempts,
                row.reason,
            )
            for row in rows
        ),
    )


def _settings() -> "Settings":
    from services.notifications.settings import Settings

    return read_settings(Settings)


@asynccontextmanager
async def _transaction() -> AsyncIterator["AsyncConnection"]:
    from services.notifications.database import connect

    engine = connect(_settings().notifications_database_url.get_secret_value(), pool_size=1)
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()
