"""The printed report of a soak: a line at each checkpoint, and tables at the end."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from benchmarks.benchmark_report import WIDTH, machine, number, table

Row = Mapping[str, Any]
PROCESSES = ("worker", "relay", "timer", "postgres", "kafka", "sender")

_COLUMNS: dict[str, Callable[[Row], str]] = {
    "min": lambda row: f"{row['at_seconds'] / 60:.1f}",
    "sent/s": lambda row: number(row["commands_per_second"]),
    "late ms": lambda row: number(row["late_ms"]),
    "paid/s": lambda row: number(row["payments_per_second"]),
    "waiting": lambda row: f"{row['commands_waiting']:,}+{row['outbox_waiting']:,}",
    "p50 ms": lambda row: number(row["p50_ms"]),
    "p99 ms": lambda row: number(row["p99_ms"]),
    "CPU µs": lambda row: number(row["cpu_us"]),
    **{
        name: lambda row, name=name: number(row.get(f"cpu_us_{name}"))  # type: ignore[misc]
        for name in ("worker", "relay", "timer", "postgres", "kafka")
    },
    "WAL B": lambda row: number(row["wal_bytes"]),
    "pages": lambda row: f"{row['wal_full_pages']:.2f}",
    "disk B": lambda row: number(row["grown_bytes"]),
    "MB": lambda row: "/".join(f"{row[f'memory_mb_{name}']:.0f}" for name in PROCESSES[:5]),
    "ckpt": lambda row: str(row["checkpoints"]),
    "audit s": lambda row: f"{row['audit_seconds']:.0f}",
    "free GB": lambda row: f"{row['free_bytes'] / 1e9:.1f}",
}


def line(row: Row, seconds: float) -> str:
    """Return a checkpoint as one line."""
    cells = {name: column(row) for name, column in _COLUMNS.items()}
    return (
        f"{cells['min']} of {seconds / 60:.0f} min: {cells['paid/s']} paid/s, waiting {cells['waiting']},"
        f" p50 {cells['p50 ms']} ms, p99 {cells['p99 ms']} ms, {cells['CPU µs']} µs, WAL {cells['WAL B']} B,"
        f" {cells['MB']} MB, audit {cells['audit s']} s, {cells['free GB']} GB free"
    )


def show(result: Mapping[str, Any]) -> None:
    """Print the result."""
    console = Console(width=WIDTH)
    rows = [[column(row) for column in _COLUMNS.values()] for row in result["checkpoints"]]
    table(
        console,
        f"Checkpoints (for each payment: CPU and its parts in µs, log, full pages in it, tables;"
        f" MB of {', '.join(PROCESSES[:5])})",
        list(_COLUMNS),
        rows,
    )
    slopes = [
        [name, number(each["first"]), number(each["last"]), f"{each['per_cent']:+.1f} %"]
        for name, each in result["slopes"].items()
    ]
    title = f"From the end of the warm-up ({result['warm_up_seconds']:.0f} s) to the end, on a straight line"
    table(console, title, ("what", "first", "last", "change"), slopes)
    rotation = [
        [f"{each['at_seconds']:.0f}", each["what"], each["partition"], number(each.get("p99_ms"))]
        for each in result["rotation"]
    ]
    title = "Partitions of the outbox: when, and the p99 of that time"
    table(console, title, ("s", "what", "partition", "p99 ms"), rotation)
    for name, value in _facts(result).items():
        console.print(f"{name}: {value}", highlight=False, markup=False)


def _facts(result: Mapping[str, Any]) -> dict[str, Any]:
    target, integrity = result["target"], dict(result["integrity"])
    complaints = integrity.pop("complaints")
    met = {True: "met", False: "NOT MET", None: "too few checkpoints to tell"}[target["met"]]
    return {
        "Status": result["status"],
        "Throughput": f"{target['throughput_per_cent']} % (at most -{target['most_loss_per_cent']} %): {met}",
        "Past": result["past"],
        "Audits": result["audits"],
        "Warnings": result["warnings"],
        **{f"Note {n}": each for n, each in enumerate(result["notes"], 1)},
        "Integrity": integrity,
        "Proven": "NO: " + "; ".join(complaints) if complaints else "yes",
        "Machine": machine(result),
    }
