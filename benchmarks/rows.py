"""Dump of the rows that the drain wrote, in COPY's binary format, and their reload, which is the ceiling."""

import asyncio
import time
from pathlib import Path

from benchmarks.measured_city import Connection, MeasuredCity
from chassis.database import connect_directly

# Tables in the order in which foreign keys allow them to be written, with the condition of rows that the drain wrote.
TABLES = {
    "payments": "true",
    "transfers": "kind = 'pay_bill'",
    "receipts": "true",
    "outbox": "true",
}


async def dump(city: MeasuredCity, folder: Path, parts: int = 2) -> None:
    """Write the rows that are younger than the city's past into files, each table in `parts`."""
    connection = await connect_directly(city.owner_url, "billing")
    try:
        since = await connection.fetchval("SELECT min(created_at) FROM outbox")
        for table, condition in TABLES.items():
            for part in range(parts):
                await connection.copy_from_query(
                    f"SELECT * FROM {table} WHERE {condition} AND {_created_at(table)} >= $1"  # noqa: S608
                    f" AND hashtext(CAST({_key(table)} AS text)) & 1 = {part}",
                    since,
                    output=folder / f"{table}.{part}",
                    format="binary",
                )
    finally:
        await connection.close()


async def load(city: MeasuredCity, folder: Path, parts: int = 2) -> float:
    """Write all parts concurrently, each by a connection of its own; return the seconds."""
    connections = [await connect_directly(city.owner_url, "billing") for _ in range(parts)]
    try:
        began = time.perf_counter()
        await asyncio.gather(*(_load(each, folder, part) for part, each in enumerate(connections)))
        return time.perf_counter() - began
    finally:
        for each in connections:
            await each.close()


async def _load(connection: Connection, folder: Path, part: int) -> None:
    for table in TABLES:
        await connection.copy_to_table(table, source=folder / f"{table}.{part}", format="binary")


def _created_at(table: str) -> str:
    return "issued_at + interval '1 second'" if table == "receipts" else "created_at"


def _key(table: str) -> str:
    return {"receipts": "payment_id", "outbox": "key"}.get(table, "id")
