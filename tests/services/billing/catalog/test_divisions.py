"""The divisions are those of GB/T 2260, and the database's are brought up to them."""

from collections import Counter

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.catalog.divisions import read_divisions, write_divisions

MUNICIPALITIES = {"110000", "120000", "310000", "500000"}


def test_the_table_has_every_province_and_prefecture() -> None:
    divisions = read_divisions()
    provinces = [each for each in divisions.values() if each.level == 1]
    stand_ins = {code for code in divisions if divisions[code].parent in MUNICIPALITIES}
    units = [each for each in divisions.values() if each.level == 2 and each.code not in stand_ins]
    kinds = Counter(
        next(kind for kind in ("自治州", "地区", "盟", "市") if each.name_zh.endswith(kind))
        for each in units
    )
    assert len(provinces) == 31
    assert stand_ins == {"110100", "120100", "310100", "500100"}
    assert kinds == {"市": 293, "自治州": 30, "地区": 7, "盟": 3}
    assert len(divisions) == 31 + 333 + 4


def test_codes_say_where_a_division_belongs_and_names_are_unique_where_they_must_be() -> None:
    divisions = read_divisions()
    for each in divisions.values():
        assert len(each.code) == 6
        assert each.name_en == each.name_en.strip() and each.name_en
        if each.level == 1:
            assert each.code.endswith("0000") and each.parent is None
        else:
            assert each.code.endswith("00") and each.parent == f"{each.code[:2]}0000"
            assert divisions[each.parent].level == 1
    names = Counter(each.name_zh for each in divisions.values() if each.level == 2)
    assert not [name for name, count in names.items() if count > 1]


def test_well_known_names() -> None:
    divisions = read_divisions()
    known = {
        "330100": ("杭州市", "Hangzhou"),
        "150000": ("内蒙古自治区", "Inner Mongolia"),
        "654000": ("伊犁哈萨克自治州", "Ili Kazakh Autonomous Prefecture"),
        "140400": ("长治市", "Changzhi"),
        "610100": ("西安市", "Xi'an"),
        "411100": ("漯河市", "Luohe"),
        "152200": ("兴安盟", "Hinggan League"),
    }
    assert {code: (divisions[code].name_zh, divisions[code].name_en) for code in known} == known


async def test_writing_again_changes_nothing_and_repairs_what_is_wrong(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        assert await write_divisions(connection) == 368
        assert await write_divisions(connection) == 0
        await connection.execute(text("UPDATE divisions SET name_en = 'X' WHERE code = '330100'"))
        assert await write_divisions(connection) == 1
        assert (
            await connection.scalar(text("SELECT name_en FROM divisions WHERE code = '330100'"))
            == "Hangzhou"
        )
