"""The command line of operators and finance ops: `meterhall …`.

Each module here has one `commands` group. Other packages add theirs through the entry point group
`meterhall.commands`, so billing imports neither the sandbox nor notifications. A command imports its dependencies
when it runs.
"""

from importlib import import_module
from importlib.metadata import entry_points

import typer

from chassis.output import fail

GROUPS = (
    "migrate",
    "topics",
    "channels",
    "catalog",
    "bills",
    "payments",
    "refunds",
    "errands",
    "ledger",
    "reconcile",
    "dead_letters",
)


def main() -> None:
    """Run the command. A known error is printed as one line that says what to do, without a traceback."""
    app = typer.Typer(
        help="Meterhall: bills, payments, ledger and reconciliation.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    for module in GROUPS:
        _add(app, import_module(f"services.billing.cli.{module}").commands)
    for point in sorted(entry_points(group="meterhall.commands"), key=lambda point: point.name):
        _add(app, point.load())
    try:
        app()
    except OSError as error:
        fail(f"{type(error).__name__}: {error}")


def _add(app: typer.Typer, commands: typer.Typer) -> None:
    # A group without a name adds its commands, and its groups, to the top.
    if isinstance(commands.info.name, str):
        app.add_typer(commands)
    else:
        app.registered_commands += commands.registered_commands
        app.registered_groups += commands.registered_groups
