"""The sandbox's commands: `meterhall up`, `meterhall demo`, `meterhall env`."""

import json
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sandbox.home import Home
    from sandbox.local_city import LocalCity

commands = typer.Typer()
FOLDER = Path(".meterhall")
HomeOption = Annotated[Path, typer.Option("--home", help="the city's folder")]


@commands.command()
def up(
    home: HomeOption = FOLDER / "city",
    seed: Annotated[int, typer.Option(help="the same seed, the same city")] = 1,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="only this part: postgres, kafka, psp, billers, mailbox; may be repeated"
        ),
    ] = None,
) -> None:
    """Start a whole city and keep it running until Ctrl-C; what is in it stays for the next time."""
    from sandbox.home import Home
    from sandbox.local.ports import NotReadyError
    from sandbox.local_city import PARTS

    if unknown := set(only or ()) - set(PARTS):
        _fail(f"There is no {', '.join(unknown)}. The parts are {', '.join(PARTS)}.")
    parts = tuple(part for part in PARTS if only is None or part in only)
    try:
        with Home(home) as entered, _started(entered, seed, parts) as city:
            _print_addresses(city)
            _watch(city)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
    except NotReadyError as error:
        _fail(error)


@commands.command()
def demo(
    payments: Annotated[int, typer.Option(min=20, max=5000, help="how many bills are paid")] = 2000,
    home: HomeOption = FOLDER / "demo",
    seed: int = 1,
) -> None:
    """Start a fresh city, look bills up, pay them, close the day, print what happened, and stop."""
    import asyncio

    from sandbox.demo import evening
    from sandbox.demo.day import DemoDay
    from sandbox.demo.wallet_app import WalletError
    from sandbox.home import Home
    from sandbox.local.ports import NotReadyError
    from sandbox.progress import Steps

    began, started = datetime.now(UTC), time.monotonic()
    try:
        with Home(home) as entered:
            _empty(home)
            with _started(entered, seed) as city:
                with Steps() as steps:
                    outcome = asyncio.run(DemoDay(city, payments, steps.advance).run())
                    results = [
                        evening.close(city, day, steps.tell) for day in evening.days_since(began)
                    ]
                evening.report(city, outcome, results)
    except* (NotReadyError, WalletError, OSError) as group:
        for error in group.exceptions:
            _fail(error)
    print(f"{time.monotonic() - started:.0f} s. Keep a city running with `make up`.")


@commands.command()
def env(home: HomeOption = FOLDER / "city") -> None:
    """Print the environment of the running city, for a shell: eval "$(meterhall env)"."""
    file = home / "environment.json"
    if not file.exists():
        _fail("No city is running there. Start one with `make up`.")
    for name, value in json.loads(file.read_text()).items():
        print(f"export {name}={shlex.quote(value)}")


@contextmanager
def _started(home: "Home", seed: int, only: tuple[str, ...] | None = None) -> Iterator["LocalCity"]:
    from sandbox.local_city import PARTS, LocalCity
    from sandbox.progress import Steps

    # What stops us stops the city in order: as if Ctrl-C had been pressed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    city = LocalCity(home, seed=seed, only=only or PARTS)
    try:
        with Steps() as steps:
            city.tell = steps.tell
            city.start()
        yield city
    finally:
        sys.stdout.flush()
        print("Stopping …", file=sys.stderr)
        city.stop()


def _watch(city: "LocalCity") -> None:
    while True:
        time.sleep(1)
        for name in city.revive():
            print(f"{name} had died and was started again", file=sys.stderr)


def _print_addresses(city: "LocalCity") -> None:
    from chassis.output import table
    from sandbox.local_city import CHANNEL

    home, secrets = city.home, city.home.secrets
    addresses = {
        "API and its documentation": ("web", f"{home.url('web')}/docs"),
        "Events (AsyncAPI)": ("web", f"{home.url('web')}/docs/events"),
        "Verify a receipt": ("web", f"{home.url('web')}/r"),
        "Notifications' API": ("notifications-web", f"{home.url('notifications')}/docs"),
        "Mail box": ("mailbox", f"{home.url('mailbox')}, SMTP {home.ports['smtp']}"),
        "PSP (Stripe's API)": ("psp", home.url("psp")),
        "Billers": ("billers", home.url("billers")),
        "Kafka": ("kafka", city.environment["METERHALL_KAFKA"]),
        "PostgreSQL": (
            "postgres",
            city.environment["METERHALL_OWNER_DATABASE_URL"].split("@")[1],
        ),
    }
    running = {*city.processes, *city.only}
    rows = [(what, where) for what, (part, where) in addresses.items() if part in running]
    rows.append(("Logs", f"{home.folder / 'logs'}"))
    table("The city is up. Ctrl-C stops it.", ("what", "where"), rows)
    if "web" in running:
        print(f"API key of the channel {CHANNEL}:\n{secrets['channel_key']}\n")
        print(f"Its signing key, for commands through Kafka:\n{secrets['signing_key']}\n")
    print('In another shell: eval "$(.venv/bin/meterhall env)"; .venv/bin/meterhall --help')
    sys.stdout.flush()


def _empty(home: Path) -> None:
    # The lock is held; everything else of an earlier demo goes.
    for each in home.iterdir():
        if each.name == "lock":
            continue
        if each.is_dir():
            shutil.rmtree(each)
        else:
            each.unlink()


def _fail(why: object) -> None:
    print(str(why), file=sys.stderr)
    raise SystemExit(1)
