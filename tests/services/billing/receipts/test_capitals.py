"""Amounts in capital numerals: the examples of the central bank's rules, and every amount can be read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.money import LARGEST_MINOR
from services.billing.receipts.capitals import capitals


@pytest.mark.parametrize(
    ("fen", "words"),
    [
        # 支付结算办法, 附一: 正确填写票据和结算凭证的基本规定
        (140950, "人民币壹仟肆佰零玖元伍角整"),
        (600714, "人民币陆仟零柒元壹角肆分"),
        (168032, "人民币壹仟陆佰捌拾元叁角贰分"),
        (10700053, "人民币壹拾万柒仟元伍角叁分"),
        (1640902, "人民币壹万陆仟肆佰零玖元零贰分"),
        (32504, "人民币叁佰贰拾伍元零肆分"),
        (8850, "人民币捌拾捌元伍角整"),
        (10000, "人民币壹佰元整"),
        (1, "人民币壹分"),
        (10, "人民币壹角整"),
        (10001000, "人民币壹拾万零壹拾元整"),
        (10_0000_0000_00, "人民币壹拾亿元整"),
        (1_0000_0001_0000_00, "人民币壹万亿零壹万元整"),
    ],
)
def test_an_amount_is_written_as_the_central_banks_rules_say(fen: int, words: str) -> None:
    assert capitals(fen) == words


@given(st.integers(1, LARGEST_MINOR))
def test_every_amount_can_be_read_back(fen: int) -> None:
    text = capitals(fen)
    assert read_back(text.removeprefix("人民币")) == fen
    assert "零零" not in text
    assert text.endswith("分") == bool(fen % 10)
    assert text.endswith("整") == (not fen % 10)


def read_back(words: str) -> int:
    yuan, _, cents = words.rpartition("元")
    total = number(yuan) * 100
    for unit, worth in (("角", 10), ("分", 1)):
        before, found, cents = cents.partition(unit) if unit in cents else ("", "", cents)
        total += "零壹贰叁肆伍陆柒捌玖".index(before[-1]) * worth if found else 0
    return total


def number(words: str) -> int:
    """Return the number in these capitals: factors precede their unit, the largest unit comes first."""
    for unit, size in (("亿", 10**8), ("万", 10**4), ("仟", 1000), ("佰", 100), ("拾", 10)):
        if unit in words:
            before, _, after = words.rpartition(unit)
            return number(before) * size + number(after)
    return "零壹贰叁肆伍陆柒捌玖".index(words.strip("零")) if words.strip("零") else 0
