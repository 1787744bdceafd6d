"""Printed output of commands: tables that fit 80 columns, JSON for scripts, and errors on one line."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

WIDTH = 80


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table. A column named `…>` is aligned to the right, for numbers; a column named `…!` is never folded,
    because its cells are to be copied."""
    from rich.console import Console
    from rich.table import Table

    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not cells:
        print(f"{title}: none")
        return
    grid = Table(title=title, title_justify="left", width=None)
    for column in columns:
        grid.add_column(
            column.rstrip(">!"),
            justify="right" if column.endswith(">") else "left",
            no_wrap=column.endswith("!"),
            overflow="fold",
        )
    for row in cells:
        grid.add_row(*row)
    # In a pipe rich uses 80 columns; on a wide terminal a table may use the full width.
    console = Console()
    console.width = max(WIDTH, min(console.width, 120)) if console.is_terminal else WIDTH
    console.print(grid)


def as_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print for a script: ids and times as text, amounts as integers of minor units."""
    print(json.dumps(value, default=str, ensure_ascii=False, indent=2))


def money(amount_minor: int, currency: str) -> str:
    """Format an amount with the currency's decimals: 1234567 CNY -> 12,345.67 CNY."""
    from babel.numbers import get_currency_precision

    decimals = get_currency_precision(currency)
    sign, digits = ("-" if amount_minor < 0 else ""), str(abs(amount_minor)).zfill(decimals + 1)
    whole = f"{int(digits[: len(digits) - decimals]):,}"
    return f"{sign}{whole}{'.' + digits[-decimals:] if decimals else ''} {currency}"


def span(seconds: float) -> str:
    """Format a span of time in its largest unit: 90 -> 1m, -5 -> `due`."""
    if seconds <= 0:
        return "due"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def fail(text: str, code: int = 1) -> NoReturn:
    """Print an error to stderr and exit."""
    print(text, file=sys.stderr)
    raise SystemExit(code)
