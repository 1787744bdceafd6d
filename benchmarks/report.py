"""A result for people: a table in the terminal, and as Markdown. Ratios come first: they travel, rates don't."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

HEADINGS = ("measurement", "of COPY", "median", "range", "unit", "p50 ms", "p99 ms", "proven")
COSTS = ("worker", "web", "relay", "postgres", "kafka", "psp", "billers", "bench")
COST_HEADINGS = ("measurement", *(f"{name} µs" for name in COSTS), "WAL bytes")


def show(result: Mapping[str, Any]) -> None:
    """Print the result."""
    console = Console()
    for title, headings, rows in _tables(result):
        table = Table(title=title, title_justify="left", box=None, header_style="bold")
        for n, heading in enumerate(headings):
            table.add_column(heading, justify="left" if n == 0 else "right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print(_machine(result), highlight=False)


def markdown(result: Mapping[str, Any]) -> str:
    """The result as Markdown tables."""
    parts = []
    for title, headings, rows in _tables(result):
        lines = [f"| {' | '.join(each)} |" for each in (headings, *rows)]
        lines.insert(1, f"|---|{'---:|' * (len(headings) - 1)}")
        parts.append("\n".join([f"**{title}**", "", *lines]))
    return "\n\n".join([*parts, _machine(result)])


def _tables(
    result: Mapping[str, Any],
) -> list[tuple[str, Sequence[str], list[Sequence[str]]]]:
    lines = result["lines"]
    return [
        ("Rates", HEADINGS, [_rate(line) for line in lines]),
        (
            "Cost of one unit, by process",
            COST_HEADINGS,
            [_cost(line) for line in lines if any(key.startswith("cpu_us_") for key in line)],
        ),
    ]


def _rate(line: Mapping[str, Any]) -> Sequence[str]:
    return (
        line["id"],
        f"{line['of_ceiling']:.2f}" if line["of_ceiling"] else "",
        _number(line["median"]),
        f"{_number(line['min'])}–{_number(line['max'])}",
        line["unit"],
        _number(line.get("p50_ms")),
        _number(line.get("p99_ms")),
        "yes" if line["integrity"] else "NO",
    )


def _cost(line: Mapping[str, Any]) -> Sequence[str]:
    costs = (_number(line.get(f"cpu_us_{name}")) for name in COSTS)
    return (line["id"], *costs, _number(line.get("wal_bytes")))


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _machine(result: Mapping[str, Any]) -> str:
    machine, versions, durability = result["machine"], result["versions"], result["durability"]
    return (
        f"{machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB,"
        f" {machine['system']} {machine['kernel']}; Python {versions['python']},"
        f" PostgreSQL {versions['postgresql']}, Kafka {versions['kafka']};"
        f" fsync {durability['fsync']}, synchronous_commit {durability['synchronous_commit']};"
        f" measured {result['measured_at'][:10]}."
    )
