"""The parts of a soak that need no load: sizes, slopes, rows, and a past without violations."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.benchmark_plan import QUICK
from benchmarks.measured_city import MeasuredCity, build
from benchmarks.samples import rounded
from benchmarks.soak import soak_report
from benchmarks.soak.checkpoints.checkpoint import sent_between, spread
from benchmarks.soak.checkpoints.logs import warnings
from benchmarks.soak.checkpoints.slopes import fit, slopes
from benchmarks.soak.past.days import Days, changes, partitions
from benchmarks.soak.past.make_past import make_past, seal_past
from benchmarks.soak.result import SoakResult
from benchmarks.soak.sizes import (
    BILL,
    GB,
    RESERVE_BYTES,
    DiskError,
    Size,
    amount_minor,
    check_disk,
    id_of,
    sql_id,
)
from benchmarks.soak.soak_sender import Entry, payment_id
from chassis.database import connect_directly
from events.ids import milliseconds_of
from messaging.outbox import drop_old_partitions, ensure_partitions
from services.billing.audit import audit_database
from tests.support.databases import Database

SIZE = Size(transfers=12_345, rate=100.0, seconds=60.0, wal_bytes=GB)


def _row(at_seconds: float, **more: Any) -> dict[str, Any]:
    row = {
        "at_seconds": at_seconds,
        "seconds": 60.0,
        "payments": 60_000,
        "payments_per_second": 1_000.0,
        "commands_per_second": 1_000.0,
        "late_ms": 12.0,
        "commands_waiting": 40,
        "outbox_waiting": 2,
        "p50_ms": 30.0,
        "p99_ms": 90.0,
        "cpu_us": 165.0,
        "wal_bytes": 3_000.0,
        "wal_full_pages": 0.25,
        "grown_bytes": 1_900.0,
        "checkpoints": 1,
        "audit_seconds": 0.0,
        "free_bytes": 20 * GB,
        **{f"memory_mb_{name}": 100.0 for name in soak_report.PROCESSES},
    }
    return row | more


def test_fit_finds_a_line_in_symmetric_noise() -> None:
    assert fit([(0, 10), (1, 12), (2, 14)]) == pytest.approx((10, 2))
    assert fit([(0, 11), (1, 11), (2, 15), (3, 15)]) == pytest.approx((10.6, 1.6))
    assert fit([(5, 7), (5, 9)]) == (8, 0)  # one moment has no slope


def test_slopes_are_over_the_run_without_its_warm_up() -> None:
    rows = [_row(60.0 * n, p99_ms=500.0 if n <= 2 else 90.0) for n in range(1, 11)]
    for n, row in enumerate(rows, 1):
        row["payments_per_second"] = 1_000.0 - n
    found = slopes(rows, ["payments_per_second", "p99_ms", "nowhere"], 600.0, 120.0)
    assert found["p99_ms"]["per_cent"] == pytest.approx(0)
    # 8 a second are lost in the 8 minutes after the warm-up, from 997.5 on.
    assert found["payments_per_second"]["first"] == pytest.approx(997.5)
    assert found["payments_per_second"]["per_cent"] == pytest.approx(-8 / 997.5 * 100)
    assert "nowhere" not in found
    assert slopes(rows[:4], ["p99_ms"], 600.0, 120.0) == {}  # two points always lie on a line


@pytest.mark.parametrize(("loss_per_second", "met"), [(0.005, True), (0.05, False)])
def test_the_result_shows_if_throughput_fell_too_far(
    tmp_path: Path, loss_per_second: float, met: bool
) -> None:
    rows = [
        _row(60.0 * n, payments_per_second=1_000 - loss_per_second * 60 * n * 5)
        for n in range(1, 11)
    ]
    result = SoakResult(tmp_path / "soak.json", 600.0, 120.0, rows=rows)
    result.rotation = [{"at_seconds": 130.0, "what": "dropped", "partition": "outbox_p20261101"}]
    result.write()
    written = result.as_json()
    assert written["target"]["met"] is met
    assert written["rotation"][0]["p99_ms"] == 90.0
    assert [each.name for each in tmp_path.iterdir()] == ["soak.json"]


def test_a_disk_that_is_too_small_is_refused_with_figures() -> None:
    need = sum(SIZE.disk().values()) + RESERVE_BYTES
    check_disk(SIZE, need)
    with pytest.raises(DiskError, match=r"GB of disk are needed and .* outbox"):
        check_disk(SIZE, need - 1)


def test_the_full_soak_fits_into_45_gb() -> None:
    full = Size(transfers=20_000_000, rate=5_900.0, seconds=1_800.0, wal_bytes=3 << 30)
    assert 30 * GB < sum(full.disk().values()) < 45 * GB
    assert full.transfers + full.due > 30_000_000


def test_every_household_can_pay_all_of_its_bills() -> None:
    spent = [0] * SIZE.households
    for bill in range(SIZE.bills):
        spent[bill % SIZE.households] += amount_minor(bill)
    has = [0] * SIZE.households
    for top_up in range(SIZE.top_ups):
        has[top_up % SIZE.households] += SIZE.top_up_minor
    assert all(owes <= owned for owes, owned in zip(spent, has, strict=True))


def test_a_payment_id_has_the_time_at_which_its_command_was_due() -> None:
    made = [payment_id(1_790_000_000.1234) for _ in range(3)]
    assert {milliseconds_of(each) for each in made} == {1_790_000_000_123}
    assert len(set(made)) == 3
    assert {each.version for each in made} == {7}


def test_a_row_counts_the_commands_sent_between_two_checkpoints() -> None:
    diary = [Entry(100.0, 100.0 + n, 50 * n, float(n), n == 9) for n in range(10)]
    found = sent_between(diary, 103.5, 107.5)
    assert found == {"commands_per_second": 50.0, "late_ms": 7.0}
    assert sent_between(diary, 200.0, 260.0)["commands_per_second"] == 0.0
    assert spread([5.0]) == {"p50_ms": None, "p99_ms": None, "sampled": 1}
    assert spread([float(n) for n in range(101)])["p99_ms"] == 99.0


def test_planted_days_are_not_reported_as_changes_of_the_product() -> None:
    before, now = ["outbox_p1", "outbox_p2"], ["outbox_p2", "outbox_p3"]
    assert [(each["what"], each["partition"]) for each in changes(before, now, 12.0)] == [
        ("gone", "outbox_p1"),
        ("new", "outbox_p3"),
    ]


def test_a_checkpoint_is_a_line_and_the_result_a_table(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line = soak_report.line(_row(300.0), 1_800.0)
    assert line.startswith("5.0 of 30 min: 1,000 paid/s, waiting 40+2, p50 30 ms, p99 90 ms")
    head = {
        "machine": {"cores": 2, "processor": "a", "memory_gib": 24, "kernel": "6", "system": "L"},
        "versions": {"python": "3.11", "postgresql": "18.4", "kafka": "4.3.1"},
        "durability": {"fsync": "on", "synchronous_commit": "on"},
        "measured_at": "2026-11-26T00:00:00+00:00",
    }
    result = SoakResult(tmp_path / "soak.json", 600.0, 120.0, head=head)
    result.rows = [_row(60.0 * n) for n in range(1, 11)]
    result.complaints = ["1 receipts instead of 2"]
    soak_report.show(result.as_json())
    shown = capsys.readouterr().out
    assert "Proven: NO: 1 receipts instead of 2" in shown
    assert "Throughput: 0.0 % (at most -5.0 %): met" in shown
    assert rounded({"a": [1.23456, 7]}) == {"a": [1.235, 7]}


def test_warnings_are_counted_by_event(tmp_path: Path) -> None:
    log = tmp_path / "timer.log"
    log.write_text(
        '{"event": "job_failed", "job": "upkeep", "level": "error", "exception": "Traceback\\nLockError: late"}\n'
        '{"event": "relay_starts_over", "level": "warning"}\n'
        '{"event": "started", "level": "info"}\nTraceback\n'
    )
    assert warnings(log) == {
        "job_failed upkeep LockError: late": 1,
        "relay_starts_over": 1,
        "not_json": 1,
    }
    assert warnings(tmp_path / "none.log") == {}


async def test_the_past_passes_the_audit_and_keeps_all_indexes(
    engine: AsyncEngine, database: Database
) -> None:
    await build(database.owner_url, database.billing_url, replace(QUICK, payments=1, history=0))
    city = MeasuredCity(database.name, database.owner_url, database.billing_url, engine)
    # Raises when an index or a constraint did not come back as it was.
    await make_past(city, SIZE, lambda _: None)
    await seal_past(city, lambda _: None)
    assert await audit_database(engine) == []
    assert await audit_database(engine, unsealed=True) == []
    owner = await connect_directly(database.owner_url, "billing")
    try:
        counts = await owner.fetchrow(
            "SELECT (SELECT count(*) FROM payments) AS payments, (SELECT count(*) FROM receipts) AS receipts,"
            " (SELECT count(*) FROM transfers) AS transfers, (SELECT count(*) FROM bills) AS bills"
        )
        n = SIZE.bills - 1
        last = await owner.fetchrow(
            f"SELECT bill_number, amount_minor FROM bills WHERE id = {sql_id(BILL, str(n))}"
        )
        same = await owner.fetchval(f"SELECT {sql_id(BILL, str(n))}")
    finally:
        await owner.close()
    assert counts is not None
    assert last is not None
    # The city has a household, a bill and a top-up of its own.
    assert dict(counts) == {
        "payments": SIZE.paid,
        "receipts": SIZE.paid,
        "transfers": SIZE.transfers + 1,
        "bills": SIZE.bills + 1,
    }
    assert (last["bill_number"], last["amount_minor"]) == (f"B{n}", amount_minor(n))
    assert same == id_of(BILL, n)
    assert await audit_database(engine) == []


async def test_upkeep_drops_planted_days_and_creates_removed_ones(
    engine: AsyncEngine, database: Database
) -> None:
    owner = await connect_directly(database.owner_url, "billing")
    try:
        days = Days(owner, 100, lambda: 0.0)
        await days.prepare()
        planted = {await days.plant() for _ in range(2)}
        taken = set(await days.remove_coming(3))
        before = await partitions(owner)
        assert planted < set(before)
        assert len(taken) == 3
        assert await audit_database(engine) == []  # planted events count as published
        async with engine.begin() as connection:
            assert await ensure_partitions(connection) == 3
        async with engine.begin() as connection:
            assert set(await drop_old_partitions(connection)) == planted
        changed = days.rotation(changes(before, await partitions(owner), 7.0))
    finally:
        await owner.close()
    by_what = {
        what: {each["partition"] for each in changed if each["what"] == what}
        for what in ("planted", "taken away", "created", "dropped")
    }
    assert by_what == {
        "planted": planted,
        "taken away": taken,
        "created": taken,
        "dropped": planted,
    }
