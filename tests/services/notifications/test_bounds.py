"""A text that a door accepts fits into every later write: each column has a bound, and each field checks one."""

import asyncio
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from alembic import command
from alembic.config import Config
from fastapi.routing import APIRoute
from pydantic import BaseModel
from sqlalchemy import CheckConstraint, Column, String, Table, text

from migrations.apply import ROOT
from services.notifications.database import metadata
from services.notifications.deliveries import routes as deliveries_routes
from services.notifications.deliveries.tables import BODY_BYTES, deliveries
from services.notifications.recipients import routes as recipients_routes
from tests.services.notifications.client import Api, api
from tests.services.notifications.support import Hall, Receiver, message_of, succeeded
from tests.support.databases import Database

OUTBOX = {"outbox", "outbox_cursor"}  # messaging's own
TEXTS = [
    (table, column)
    for table in metadata.sorted_tables
    if table.name not in OUTBOX
    for column in table.columns
    if isinstance(column.type, String)
]


@pytest.mark.parametrize(("table", "column"), TEXTS, ids=[str(column) for _, column in TEXTS])
def test_each_text_has_a_length_or_a_list_of_its_values(table: Table, column: Column[str]) -> None:
    listed = any(
        re.match(rf"{column.name} IN \(", str(check.sqltext))
        for check in table.constraints
        if isinstance(check, CheckConstraint)
    )
    length = column.type.length if isinstance(column.type, String) else None
    assert listed or length, f"{column} can grow without a bound"


def test_the_body_has_a_bound_above_every_event() -> None:
    checks = [str(each.sqltext) for each in deliveries.constraints if hasattr(each, "sqltext")]
    assert f"octet_length(body) <= {BODY_BYTES}" in checks


@dataclass(frozen=True)
class Place:
    """A field of a request: of which route, in which part of it."""

    route: APIRoute
    part: str
    name: str
    kind: Any

    @property
    def is_text(self) -> bool:
        return "<class 'str'>" in repr(self.kind) or self.kind is str


def places() -> list[Place]:
    """All fields of all requests, found in what the routes declare."""
    found = []
    for route in (*recipients_routes.router.routes, *deliveries_routes.router.routes):
        assert isinstance(route, APIRoute)
        parts = {
            "path": route.dependant.path_params,
            "query": route.dependant.query_params,
            "body": route.dependant.body_params,
        }
        for part, params in parts.items():
            for param in params:
                kind = param.field_info.annotation
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    fields = kind.model_fields.items()
                    found += [Place(route, part, name, f.annotation) for name, f in fields]
                else:
                    found.append(Place(route, part, param.name, kind))
    return found


# The longest value of each text, and one character more. A new field fails the test until it stands here.
LONGEST = {
    "payer": ("p" * 64, "p" * 65),
    "email": ("m" * 64 + "@" + "d" * 189, "m" * 64 + "@" + "d" * 190),
    "url": ("https://app.example/" + "x" * 1_980, "https://app.example/" + "x" * 1_981),
}
VALID = {"payer": "p1", "email": "a@example.org", "url": "https://app.example/"}
# What PostgreSQL can't hold: percent-encoded in an address, escaped in JSON.
UNSTORABLE = [("%00", "\x00"), ("%ED%A0%80", "\ud800")]


async def request(call: Api, place: Place, encoded: str, value: str) -> httpx.Response:
    """A request that is valid but for this field, which is `encoded` in an address and `value` in JSON."""
    [method] = place.route.methods or {""}
    payer = encoded if place.part == "path" else "p1"
    path = place.route.path.replace("{payer}", payer)
    if place.part == "query":
        given = {**({} if place.name == "payer" else {"payer": "p1"}), place.name: encoded}
        path += "?" + "&".join(f"{name}={each}" for name, each in given.items())
    headers = {"Authorization": f"Bearer {call.token}", "Content-Type": "application/json"}
    names = ("email",) if "recipients" in path else ("url",)
    body: dict[str, str] = {name: VALID[name] for name in names}
    if place.part == "body":
        body[place.name] = value
    # Escaped, as JSON carries any text.
    content = json.dumps(body).encode() if method == "PUT" else None
    async with httpx.AsyncClient(base_url=call.url) as client:
        return await client.request(method, path, headers=headers, content=content)


async def test_each_field_takes_its_longest_value_and_refuses_what_cannot_be_stored(
    hall: Hall, url: str
) -> None:
    call = await api(hall, url)
    for place in places():
        where = f"{place.route.methods} {place.route.path} {place.part} {place.name}"
        if place.is_text:
            longest, longer = LONGEST[place.name]
            taken = await request(call, place, quote(longest), longest)
            assert taken.status_code in {200, 204, 404}, where
            if "PUT" in (place.route.methods or ()):
                assert taken.json()[place.name] == longest, where
            await assert_refused(await request(call, place, quote(longer), longer), place, where)
        for encoded, value in UNSTORABLE:
            await assert_refused(await request(call, place, encoded, value), place, where)
            if place.is_text:
                inside = VALID[place.name]
                answer = await request(call, place, quote(inside) + encoded, inside + value)
                await assert_refused(answer, place, where)
    assert {place.name for place in places() if place.is_text} == LONGEST.keys()


async def assert_refused(answer: httpx.Response, place: Place, where: str) -> None:
    assert answer.status_code == 422, f"{where}: {answer.text}"
    assert place.name in {each["field"] for each in answer.json()["errors"]}, where


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("HTTPS://App.example/Hook", "https://App.example/Hook"),
        ("Http://app.example", "http://app.example"),
        (" https://app.example/", None),
        ("https:app.example/", None),
        ("https:///hook", None),
        ("https://xn--a.example:99999/", None),
        ("https://xn--\x7f/", None),
        ("https://[::1", None),
    ],
)
async def test_the_door_and_the_column_agree_on_urls(
    hall: Hall, url: str, given: str, kept: str | None
) -> None:
    call = await api(hall, url)
    answer = await call("PUT", "/v1/endpoint", json={"url": given})
    if kept is None:
        assert answer.status_code == 422
        assert [each["field"] for each in answer.json()["errors"]] == ["url"]
    else:
        assert answer.json()["url"] == kept


def alembic(database: Database) -> Config:
    config = Config(str(ROOT / "alembic.ini"), ini_section="notifications")
    config.set_main_option("script_location", str(ROOT / "migrations"))
    versions: Path = ROOT / "migrations" / "notifications" / "versions"
    config.set_main_option("version_locations", str(versions))
    config.attributes["url"] = database.owner_url
    return config


async def test_the_migration_keeps_what_was_there_before_the_bounds(
    hall: Hall, database: Database, receiver: Receiver
) -> None:
    channel = await hall.channel(f"{receiver.url}/hook")
    await hall.take(*(message_of(succeeded(channel, f"p{n}")) for n in range(3)))
    await asyncio.to_thread(command.downgrade, alembic(database), "0001")
    # A body that its headers made large, and which holds a quoted copy of what stands before the event.
    large = json.dumps({"id": "x", "correlationid": ', "data": ' * 130_000})[:-1]
    async with hall.owner.begin() as connection:
        await connection.execute(
            text("""
                UPDATE deliveries SET correlation_id = repeat('c', 9000), traceparent = repeat('0', 65),
                    reason = repeat('r', 99),
                    body = convert_to(:large || ', "data": {"payer": "pä",  "new": 1}}', 'UTF8')
                WHERE payer = 'p0'
            """),
            {"large": large},
        )
    await asyncio.to_thread(command.upgrade, alembic(database), "head")
    await hall.engine.dispose()
    changed, *others = sorted(await hall.deliveries(), key=lambda each: str(each.payer))
    assert (changed.correlation_id, changed.traceparent) == ("c" * 128, None)
    assert changed.reason == "r" * 64
    assert changed.body.endswith(', "data": {"payer": "pä",  "new": 1}}'.encode())
    body = json.loads(changed.body)
    assert (body["id"], body["type"]) == (str(changed.event_id), changed.event_type)
    assert [each.correlation_id for each in others] == ["order-7"] * 2
    assert await hall.sender.run_once() == 3
    assert {each.status for each in await hall.deliveries()} == {"delivered"}
    assert len(receiver.requests) == len(await hall.published()) == 3
