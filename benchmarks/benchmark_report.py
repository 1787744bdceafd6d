"""Tables of a result, in the terminal and as Markdown. Ratios come first: they hold on other machines, rates do not."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

HEADINGS = ("measurement", "of COPY", "median", "min", "max", "unit", "p50", "p99", "proven")
WIDTH = 170
COSTS = ("worker", "web", "relay", "postgres", "kafka", "psp", "billers", "bench")


def show(result: Mapping[str, Any]) -> None:
    """Print the result."""
    console = Console(width=WIDTH)
    for title, headings, rows in _tables(result):
        table(console, title, headings, rows)
    console.print(machine(result), highlight=False)


def table(
    console: Console, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Print one table: the first column is text, the others are numbers."""
    console.print(title, style="italic", highlight=False)
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for n, heading in enumerate(headings):
        grid.add_column(heading, justify="right" if n else "left", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    console.print(grid)
    console.print()


def markdown(result: Mapping[str, Any]) -> str:
    """The result as Markdown tables."""
    parts = []
    for title, headings, rows in _tables(result):
        lines = [f"| {' | '.join(each)} |" for each in (headings, *rows)]
        lines.insert(1, f"|---|{'---:|' * (len(headings) - 1)}")
        parts.append("\n".join([f"**{title}**", "", *lines]))
    return "\n\n".join([*parts, machine(result)])


def _tables(
    result: Mapping[str, Any],
) -> list[tuple[str, Sequence[str], list[Sequence[str]]]]:
    lines = result["lines"]
    costs = [line for line in lines if any(key.startswith("cpu_us_") for key in line)]
    names = [name for name in COSTS if any(f"cpu_us_{name}" in line for line in costs)]
    return [
        ("Rates, and latencies in ms", HEADINGS, [_rate(line) for line in lines]),
        (
            "Processor time in µs and log in bytes, for each unit",
            ("measurement", *names, "WAL"),
            [_cost(line, names) for line in costs],
        ),
    ]


def _rate(line: Mapping[str, Any]) -> Sequence[str]:
    return (
        line["id"],
        f"{line['of_ceiling']:.2f}" if line["of_ceiling"] else "",
        number(line["median"]),
        number(line["min"]),
        number(line["max"]),
        line["unit"],
        number(line.get("p50_ms")),
        number(line.get("p99_ms")),
        "yes" if line["integrity"] else "NO",
    )


def _cost(line: Mapping[str, Any], names: Sequence[str]) -> Sequence[str]:
    costs = (number(line.get(f"cpu_us_{name}")) for name in names)
    return (line["id"], *costs, number(line.get("wal_bytes")))


def number(value: float | None) -> str:
    """A number with three significant digits, or whole from 100 on; empty where there is none."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def machine(result: Mapping[str, Any]) -> str:
    """The machine, versions and durability settings of a result, in one line."""
    host, versions, durability = result["machine"], result["versions"], result["durability"]
    return (
        f"{host['cores']} cores ({host['processor']}), {host['memory_gib']} GiB,"
        f" {host['system']} {host['kernel']}; Python {versions['python']},"
        f" PostgreSQL {versions['postgresql']}, Kafka {versions['kafka']};"
        f" fsync {durability['fsync']}, synchronous_commit {durability['synchronous_commit']};"
        f" measured {result['measured_at'][:10]}."
    )
