"""Follow one payment through all processes that it passes, and count what it calls. `python -m sandbox.walk`

A city is started in a folder of its own, which goes again. One bill is paid over HTTP, funded by the PSP, at a biller
that speaks JSON. Listed are the functions of ours (see traced.py for what is one) that the payment calls, in the order
of their first calls: until the receipt is issued and its events are in Kafka, and then what takes the PSP's webhooks
and shows the receipt. What the processes call without a payment as well (loops that look for work) is not counted.
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

# Of a log that tells why a process did not come up.
TOLD_LINES = 20


def main() -> None:
    """Read the command line, walk, print."""
    parser = argparse.ArgumentParser(prog="sandbox.walk", description="The walk of one payment.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write it for a script, too")
    asked = parser.parse_args()
    # What stops us stops the city in order: as if Ctrl-C had been pressed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        made = walk()
    except (NotReadyError, WalletError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped.")
    made.write(sys.stdout)
    if asked.json:
        asked.json.write_text(json.dumps(made.as_json(), indent=2) + "\n")


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
            _tell_logs(Path(folder))
            raise
    return Walk(parts)


def _tell_logs(folder: Path) -> None:
    # The folder goes, and its logs with it.
    for log in sorted(folder.glob("logs/*.log")):
        lines = log.read_text(errors="replace").splitlines()
        if any("Traceback" in line for line in lines):
            print(f"{log.name}:", *lines[-TOLD_LINES:], sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
