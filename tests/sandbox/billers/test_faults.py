"""Faults fire as often as asked, at whom they were asked to, and are counted; a restart changes nothing."""

from pathlib import Path

from sandbox.billers.faults import Fault, Faults
from sandbox.billers.store import Store


def kinds(faults: Faults, biller: str, operation: str, times: int) -> list[str]:
    """What befalls so many calls; only the faults."""
    picked = [faults.pick(biller, operation) for _ in range(times)]
    return [fault.kind for fault in picked if fault]


def test_by_count(tmp_path: Path) -> None:
    faults = Faults(Store(tmp_path), 1)
    faults.add(Fault("hz-water", "apply", "down", 0.0, "", times=2))
    faults.add(Fault("*", "*", "garbage", 0.0, "", times=1))
    assert kinds(faults, "hz-water", "apply", 5) == ["down", "down", "garbage"]
    assert faults.report()["fired"] == {"hz-water:apply:down": 2, "hz-water:apply:garbage": 1}


def test_only_where_it_was_asked_for(tmp_path: Path) -> None:
    faults = Faults(Store(tmp_path), 1)
    faults.add(Fault("hz-water", "apply", "down", 0.0, "", times=1))
    assert kinds(faults, "hz-water", "lookup", 5) == kinds(faults, "sh-gas", "apply", 5) == []


def test_by_probability(tmp_path: Path) -> None:
    faults = Faults(Store(tmp_path), 1)
    faults.add(Fault("*", "lookup", "delay", 0.0, "", probability=0.3))
    fired = len(kinds(faults, "sh-gas", "lookup", 1_000))
    assert 230 < fired < 370
    assert faults.report()["fired"] == {"sh-gas:lookup:delay": fired}


def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    faults = Faults(store, 1)
    faults.add(Fault("sh-gas", "query", "down", 0.0, "", times=3))
    assert kinds(faults, "sh-gas", "query", 1) == ["down"]
    store.close()
    again = Faults(Store(tmp_path), 1)
    assert again.report() == faults.report()
    assert kinds(again, "sh-gas", "query", 5) == ["down", "down"]
