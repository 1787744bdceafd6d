"""HTTP in: billers and where they offer what. Public, read-only, and the same for all callers, so it may be cached.

A biller's connector is never shown.
"""

import base64
import binascii
import hashlib
from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, RootModel

from chassis.http.problems import Problem
from chassis.http.route import engine_of
from events.bounds import is_storable
from services.billing.catalog import find
from services.billing.catalog.divisions import read_divisions
from services.billing.docs_pages.problem_types import BILLER_UNKNOWN, DIVISION_UNKNOWN
from services.billing.paging import Page, not_a_cursor

router = APIRouter(prefix="/v1", tags=["Catalogue"])
Category = Literal["electricity", "water", "gas", "heating", "other"]
DivisionCode = Annotated[str, Query(pattern=r"^[0-9]{6}$", description="GB/T 2260, like 330100")]

# A catalogue changes a few times a day; a wallet may see the change with this delay.
CACHE_CONTROL = "public, max-age=300"


class DivisionView(BaseModel):
    """A province (level 1) or a prefecture-level unit (level 2)."""

    code: str
    name_zh: str
    name_en: str
    level: int
    parent: str | None
    billers: int = Field(description="active billers that offer something here")


_Divisions = RootModel[list[DivisionView]]


class Coverage(BaseModel):
    """The numbers of divisions in which a service is offered."""

    provinces: int
    prefectures: int


class ServiceView(BaseModel):
    """A service of a biller."""

    id: str
    category: Category
    name_zh: str
    name_en: str
    coverage: Coverage


class BillerView(BaseModel):
    """An institution that issues bills. An account number matches the pattern as a whole."""

    id: str
    name_zh: str
    name_en: str
    currency: str
    active: bool
    account_number_pattern: str
    account_number_hint_zh: str
    account_number_hint_en: str
    services: list[ServiceView]


@router.get("/divisions", response_model=list[DivisionView])
async def list_divisions(http: Request, parent: DivisionCode | None = None) -> Response:
    """List the provinces, or with `parent` the prefectures of one."""
    _known(parent)
    async with engine_of(http).connect() as connection:
        found = await find.divisions_in(connection, parent)
    return _cacheable(http, _Divisions([DivisionView(**asdict(each)) for each in found]))


@router.get("/billers", response_model=Page[BillerView])
async def list_billers(
    http: Request,
    division: DivisionCode | None = None,
    category: Category | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List active billers by id; with a division, those that offer something there.

    A city has what its province has.
    """
    _known(division)
    after = _after(cursor) if cursor else ""
    async with engine_of(http).connect() as connection:
        found = await find.offered(connection, division, category, after, limit + 1)
        page, more = found[:limit], len(found) > limit
        services = await find.services_of(connection, [each.id for each in page])
    following = base64.urlsafe_b64encode(page[-1].id.encode()).decode() if more else None
    items = [_view(each, services[each.id]) for each in page]
    return _cacheable(http, Page[BillerView](items=items, next_cursor=following))


@router.get("/billers/{biller_id}", response_model=BillerView)
async def get_biller(biller_id: str, http: Request) -> Response:
    """One biller, active or not."""
    if not is_storable(biller_id):
        raise unknown_biller()
    async with engine_of(http).connect() as connection:
        found = (await find.find_billers(connection, [biller_id])).get(biller_id)
        if found is None:
            raise unknown_biller()
        services = await find.services_of(connection, [biller_id])
    return _cacheable(http, _view(found, services[biller_id]))


def unknown_biller() -> Problem:
    """Return the problem of an id that the catalogue does not have."""
    return Problem(BILLER_UNKNOWN)


def _view(biller: find.Biller, services: list[find.Service]) -> BillerView:
    values = asdict(biller)
    values["services"] = [
        {**asdict(each), "coverage": {"provinces": each.provinces, "prefectures": each.prefectures}}
        for each in services
    ]
    return BillerView.model_validate(values)


def _known(division: str | None) -> None:
    if division is not None and division not in read_divisions():
        raise Problem(DIVISION_UNKNOWN)


def _after(cursor: str) -> str:
    try:
        # Strictly: an invalid cursor would be read as the start of the list.
        after = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error) as error:
        raise not_a_cursor() from error
    if not is_storable(after):
        raise not_a_cursor()
    return after


def _cacheable(http: Request, body: BaseModel) -> Response:
    content = body.model_dump_json().encode()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"Cache-Control": CACHE_CONTROL, "ETag": tag}
    if tag in http.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="application/json", headers=headers)
