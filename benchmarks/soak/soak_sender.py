"""The wallet apps of the soak: a process that creates commands at an even rate and sends them as they fall due.

`python -m benchmarks.soak.soak_sender <bootstrap> <diary> <size as JSON>`, with the wallets' signing key in the
variable BENCHMARK_SIGNING_KEY. It writes a line per second into its diary. A payment's id is a UUIDv7 of the time at
which its command falls due, so that a reader of its receipt can compute the latency.
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks.measured_city import CHANNEL
from benchmarks.soak.sizes import BILL, Size, amount_minor, id_of, payer
from benchmarks.wallets import encode
from chassis.process import run_process
from events.payments import PayBill, WalletFunding
from messaging.relay import Publisher, StartOverError

MODULE = "benchmarks.soak.soak_sender"
SIGNING_KEY = (
    "BENCHMARK_SIGNING_KEY"  # an environment variable: every user of the machine can read arguments
)
# A wallet app's producer collects records for this long before it sends them.
LINGER_SECONDS = 0.01
# A sender that has fallen behind catches up in steps of this size.
BURST = 5_000
_ONE_SECOND = 1.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the diary. Times are seconds since the epoch; `late_ms` is the largest delay in that second.

    `began` is 0 until the first command is due; `done` marks the last line.
    """

    began: float
    at: float
    sent: int
    late_ms: float
    done: bool


def read_diary(diary: Path) -> list[Entry]:
    """Return the entries written so far."""
    try:
        lines = diary.read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [Entry(**json.loads(line)) for line in lines if line.endswith("\n")]


def payment_id(due_at: float) -> UUID:
    """Return a UUIDv7 of that time (seconds since the epoch)."""
    noise = int.from_bytes(os.urandom(10), "big") & ((1 << 62) - 1 | (((1 << 12) - 1) << 64))
    return UUID(int=(int(due_at * 1000) << 80) | (0x7 << 76) | (0b10 << 62) | noise)


class SoakSender:
    """Sends a command for each bill that is due, in random order."""

    def __init__(self, bootstrap: str, diary: Path, size: Size, signing_key: str) -> None:
        self._bootstrap = bootstrap
        self._signing_key = signing_key
        self._diary = diary
        self._size = size
        self._order = array("I", range(size.paid, size.bills))
        random.Random(1).shuffle(self._order)
        self._publisher: Publisher | None = None
        self._began = 0.0
        self._sent = 0
        self._late_ms = 0.0
        self._noted_at = 0.0
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Send until all bills are paid for, or until SIGTERM."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stopping.set)
        await self._connect()
        self._began = time.time()
        while self._sent < len(self._order) and not self._stopping.is_set():
            await self._send_due()
            if time.time() - self._noted_at >= _ONE_SECOND:
                self._write_diary()
            await asyncio.sleep(LINGER_SECONDS)
        self._write_diary(done=True)
        if self._publisher:
            await self._publisher.close()

    async def _send_due(self) -> None:
        now, rate = time.time(), self._size.rate
        due = min(len(self._order), int((now - self._began) * rate), self._sent + BURST)
        if due <= self._sent:
            return
        self._late_ms = max(self._late_ms, (now - self._began - self._sent / rate) * 1000)
        commands = [self._command(n) for n in range(self._sent, due)]
        await self._publish(encode(commands, self._signing_key))
        self._sent = due

    def _command(self, position: int) -> PayBill:
        bill = self._order[position]
        return PayBill(
            payment_id=payment_id(self._began + position / self._size.rate),
            channel=CHANNEL,
            payer=payer(bill % self._size.households),
            bill_id=id_of(BILL, bill),
            amount_minor=amount_minor(bill),
            currency="CNY",
            funding=WalletFunding(),
        )

    async def _publish(self, records: Sequence[dict[str, Any]]) -> None:
        # After an error Kafka may have the records or not, so they are sent again: a repeated payment is paid once.
        while True:
            try:
                if self._publisher is None:
                    await self._connect()
                assert self._publisher is not None
                await self._publisher.publish(records)
                return
            except (StartOverError, OSError) as error:
                print(f"sending the records again after: {error}", file=sys.stderr, flush=True)
                if self._publisher:
                    await self._publisher.close()
                self._publisher = None
                await asyncio.sleep(1.0)

    async def _connect(self) -> None:
        self._publisher = Publisher(self._bootstrap, "soak-wallets")
        await self._publisher.start()

    def _write_diary(self, *, done: bool = False) -> None:
        self._noted_at = time.time()
        entry = {
            "began": self._began,
            "at": self._noted_at,
            "sent": self._sent,
            "late_ms": self._late_ms,
            "done": done,
        }
        with self._diary.open("a") as diary:
            diary.write(json.dumps(entry) + "\n")
        self._late_ms = 0.0


if __name__ == "__main__":
    planned = Size(**json.loads(sys.argv[3]))
    run_process(SoakSender(sys.argv[1], Path(sys.argv[2]), planned, os.environ[SIGNING_KEY]).run())
