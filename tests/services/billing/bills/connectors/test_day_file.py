"""Day files: what is written can be read, and a file that is wrong anywhere is refused as a whole."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.money import LARGEST_MINOR
from services.billing.bills.connectors import day_file
from services.billing.bills.connectors.dialect import BillerEndpoint
from services.billing.bills.connectors.gbk_xml import GbkXml, yuan
from services.billing.bills.connectors.http import HttpClient
from services.billing.bills.connectors.protocol import DayFileError, DayFileLine

GOOD = """2|4200
20261123|s-1|b-1|8850|apply|2026-11-23T09:30:00+08:00
20261123|s-2|b-2|4650|unapply|2026-11-23T10:00:00+08:00
"""
names = st.text(
    st.characters(categories=("L", "N"), include_characters="-_."), min_size=1, max_size=40
)
lines = st.builds(
    DayFileLine,
    names,
    names,
    st.integers(1, LARGEST_MINOR),
    st.just("CNY"),
    st.sampled_from(["apply", "unapply"]),
    st.integers(1_600_000_000, 4_000_000_000).map(lambda at: datetime.fromtimestamp(at, UTC)),
)


@given(st.lists(lines, max_size=5))
def test_what_is_written_can_be_read(written: list[DayFileLine]) -> None:
    assert day_file.parse(day_file.write(written).encode(), "CNY") == written


def test_a_day_is_a_day_in_china() -> None:
    at = datetime(2026, 11, 22, 16, 30, tzinfo=UTC)
    line = DayFileLine("s", "b", 100, "CNY", "apply", at)
    assert "20261123|s|b|100|apply|2026-11-23T00:30:00+08:00" in day_file.write([line])


def test_windows_line_ends_are_read() -> None:
    assert len(day_file.parse(GOOD.replace("\n", "\r\n").encode(), "CNY")) == 2


def test_gbk_and_yuan_are_read_as_the_dialect_writes_them() -> None:
    connector = GbkXml(HttpClient(), BillerEndpoint("x", "http://x", "secret", "CNY", 1.0))
    line = DayFileLine("s-1", "账单-1", 8_850, "CNY", "unapply", datetime(2026, 11, 23, tzinfo=UTC))
    lines = day_file.write([line], yuan)
    assert lines.startswith("1|-88.50\n")
    assert connector.parse_day_file(lines.encode("gbk")) == [line]
    with pytest.raises(DayFileError, match="line 1"):
        connector.parse_day_file(b"1|-8850\n")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "empty"),
        ("\n", "line 1"),
        ("2\n", "line 1"),
        ("2|42_00\n", "line 1"),
        ("２|4200\n", "line 1"),
        ("\ufeff" + GOOD, "line 1"),
        (GOOD.replace("2|4200", "3|4200"), "says 3 lines and 4200, found 2 and 4200"),
        (GOOD.replace("2|4200", "2|4201"), "says 2 lines and 4201, found 2 and 4200"),
        (GOOD.replace("2|4200", "2|13500"), "found 2 and 4200"),
        (GOOD[: GOOD.rindex("20261123")], "found 1 and 8850"),
        (GOOD[:-20], "line 3"),
        (GOOD.replace("s-1", ""), "line 2"),
        (GOOD.replace("s-1", "s\x00"), "line 2"),
        (GOOD.replace("s-1", "s" * 65), "line 2"),
        (GOOD.replace("|8850", "|-8850"), "line 2"),
        (GOOD.replace("|8850", "|0"), "line 2"),
        (GOOD.replace("|8850", "|88.50"), "line 2"),
        (GOOD.replace("|8850", "|88850000000000000"), "line 2"),
        (GOOD.replace("|apply", "|applied"), "line 2"),
        (GOOD.replace("09:30:00+08:00", "09:30:00"), "line 2"),
        (GOOD.replace("T09:30", "T29:30"), "line 2"),
        (GOOD.replace("20261123|s-1", "20261124|s-1"), "line 2"),
        (GOOD.replace("b-1", "b|1"), "line 2"),
        (GOOD.replace("\n2026", "\n\n2026", 1), "line 2"),
    ],
)
def test_a_file_that_is_wrong_anywhere_is_refused(content: str, complaint: str) -> None:
    with pytest.raises(DayFileError, match=complaint.replace("|", r"\|")):
        day_file.parse(content.encode(), "CNY")


def test_another_encoding_is_refused() -> None:
    with pytest.raises(DayFileError, match="not utf-8: byte"):
        day_file.parse(GOOD.replace("b-1", "账单").encode("gbk"), "CNY")
    with pytest.raises(DayFileError, match="not gbk: byte"):
        day_file.parse(b"0|0\n\xff\xff", "CNY", "gbk")


def test_lines_of_a_whole_day_are_summed_without_loss() -> None:
    at = datetime(2026, 11, 23, 1, tzinfo=UTC)
    many = [
        DayFileLine(str(n), str(n), LARGEST_MINOR, "CNY", "apply", at + timedelta(seconds=n))
        for n in range(9)
    ]
    lines = day_file.write(many)
    assert lines.startswith(f"9|{9 * LARGEST_MINOR}\n")
    with pytest.raises(DayFileError, match="line 1"):
        day_file.parse(lines.replace("9|", "9|99999", 1).encode(), "CNY")
    assert day_file.parse(lines.encode(), "CNY") == many
