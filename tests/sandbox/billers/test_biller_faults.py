"""Faults fire as often and for whom they were requested, and are counted; a restart changes nothing."""

from pathlib import Path
from typing import Any

from sandbox.billers.biller_faults import BillerFault, BillerFaults
from sandbox.billers.biller_store import BillerStore


def fault(biller: str, operation: str, kind: str, **more: Any) -> BillerFault:
    return BillerFault(biller=biller, operation=operation, kind=kind, seconds=0.0, code="", **more)


def kinds(faults: BillerFaults, biller: str, operation: str, times: int) -> list[str]:
    """Return the faults that apply to this many calls."""
    picked = [faults.pick(biller, operation) for _ in range(times)]
    return [fault.kind for fault in picked if fault]


def test_by_count(tmp_path: Path) -> None:
    faults = BillerFaults(BillerStore(tmp_path), 1)
    faults.add(fault("hz-water", "apply", "down", times=2))
    faults.add(fault("*", "*", "garbage", times=1))
    assert kinds(faults, "hz-water", "apply", 5) == ["down", "down", "garbage"]
    assert faults.report()["fired"] == {"hz-water:apply:down": 2, "hz-water:apply:garbage": 1}


def test_only_where_it_was_asked_for(tmp_path: Path) -> None:
    faults = BillerFaults(BillerStore(tmp_path), 1)
    faults.add(fault("hz-water", "apply", "down", times=1))
    assert kinds(faults, "hz-water", "lookup", 5) == kinds(faults, "sh-gas", "apply", 5) == []


def test_by_probability(tmp_path: Path) -> None:
    faults = BillerFaults(BillerStore(tmp_path), 1)
    faults.add(fault("*", "lookup", "delay", probability=0.3))
    fired = len(kinds(faults, "sh-gas", "lookup", 1_000))
    assert 230 < fired < 370
    assert faults.report()["fired"] == {"sh-gas:lookup:delay": fired}


def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    store = BillerStore(tmp_path)
    faults = BillerFaults(store, 1)
    faults.add(fault("sh-gas", "query", "down", times=3))
    assert kinds(faults, "sh-gas", "query", 1) == ["down"]
    store.close()
    again = BillerFaults(BillerStore(tmp_path), 1)
    assert again.report() == faults.report()
    assert kinds(again, "sh-gas", "query", 5) == ["down", "down"]
