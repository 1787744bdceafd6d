"""Follow one payment through all processes that it passes, and count what it calls. `python -m sandbox.walk`

A city is started in a temporary folder. One bill is paid over HTTP, funded by the PSP, at a biller that speaks JSON.
The output lists the functions (see traced.py) that the payment calls, in the order of their first calls: first until
the receipt is issued and its events are in Kafka, then those that handle the PSP's webhooks and show the receipt.
Functions that the processes also call without a payment (loops that look for work) are not counted.
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from pathlib import Path

from sandbox.demo.wallet_app import WalletError
from sandbox.home import Home
from sandbox.local.ports import NotReadyError
from sandbox.progress import Steps
from sandbox.walk.city import QUIET_SECONDS, TracedCity, follow_one
from sandbox.walk.report import Walk

# The number of lines printed of the log of a process that did not come up.
TOLD_LINES = 20


def main() -> None:
    """Read the command line, walk, print."""
    parser = argparse.ArgumentParser(prog="sandbox.walk", description="The walk of one payment.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write it for a script, too")
    options = parser.parse_args()
    # A signal stops the city in order, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        result = walk()
    except (NotReadyError, WalletError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped.")
    result.write(sys.stdout)
    if options.json:
        options.json.write_text(json.dumps(result.as_json(), indent=2) + "\n")


def walk(quiet_seconds: float = QUIET_SECONDS) -> Walk:
    """Start the city, pay, stop it."""
    with tempfile.TemporaryDirectory(prefix="meterhall-walk-") as folder:
        try:
            with (
                Home(Path(folder)) as home,
                Steps() as steps,
                TracedCity(home, tell=steps.tell, accounts_per_biller=40) as city,
            ):
                parts = asyncio.run(follow_one(city, quiet_seconds))
                steps.tell("stopping")
        except NotReadyError:
            _print_logs(Path(folder))
            raise
    return Walk(parts)


def _print_logs(folder: Path) -> None:
    # The folder is deleted with its logs.
    for log in sorted(folder.glob("logs/*.log")):
        lines = log.read_text(errors="replace").splitlines()
        if any("Traceback" in line for line in lines):
            print(f"{log.name}:", *lines[-TOLD_LINES:], sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
