"""`meterhall migrate`: bring the database up to date."""

import typer

from chassis.output import fail
from services.billing.cli.session import settings

commands = typer.Typer()


@commands.command()
def migrate() -> None:
    """Create roles and schemas and run both migration histories. Needs METERHALL_OWNER_DATABASE_URL."""
    known = settings()
    if known.owner_database_url is None or known.notifications_database_url is None:
        fail("Set METERHALL_OWNER_DATABASE_URL and METERHALL_NOTIFICATIONS_DATABASE_URL.")
    from migrations.apply import migrate as apply

    apply(
        known.owner_database_url.get_secret_value(),
        known.database_url.get_secret_value(),
        known.notifications_database_url.get_secret_value(),
    )
    print("billing and notifications are up to date")
