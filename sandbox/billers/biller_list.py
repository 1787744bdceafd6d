"""The billers: sixteen that are called, in three dialects, and two that work by file. All of them are invented.

Between them they have every amount rule: exact, at_least, at_most, range, any, and any in multiples (`multiple_minor`).
"""

import random
import re
from dataclasses import dataclass

TEN_DIGITS = "^[0-9]{10}$"


@dataclass(frozen=True, slots=True)
class SandboxBiller:
    """One biller. `where` are division codes, of whole provinces or of single cities."""

    id: str
    name_zh: str
    name_en: str
    dialect: str
    category: str
    rule: str
    pattern: str
    hint_zh: str
    hint_en: str
    where: tuple[str, ...]
    # Prepaid meters are topped up in round sums.
    multiple_minor: int | None = None

    @property
    def settled_by(self) -> str:
        """`call`: applied one by one; `file`: in day files."""
        return "file" if self.dialect == "file" else "call"


# fmt: off
BILLERS = (
    SandboxBiller(
        "north-power", "北方电力", "Northern Power", "json", "electricity", "exact",
        TEN_DIGITS, "10 位数字,见电费单右上角", "10 digits, at the top right of the bill",
        ("110000", "120000", "130000", "140000", "150000", "210000", "220000", "230000", "370000", "610000", "620000",
         "640000"),
    ),
    SandboxBiller(
        "east-power", "华东电力", "East China Power", "form", "electricity", "at_least",
        "^[0-9]{13}$", "13 位数字", "13 digits",
        ("310000", "320000", "330000", "340000", "350000", "360000", "410000", "420000"),
    ),
    SandboxBiller(
        "south-power", "南方联合电力", "Southern United Power", "gbk-xml", "electricity", "exact",
        "^0[0-9]{15}$", "16 位数字,以 0 开头", "16 digits, the first is 0",
        ("430000", "440000", "450000", "460000", "500000", "510000", "520000", "530000"),
    ),
    SandboxBiller(
        "south-gas", "南华燃气", "Nanhua Gas", "form", "gas", "exact",
        "^N[0-9]{9}$", "字母 N 加 9 位数字", "the letter N and 9 digits",
        ("360000", "430000", "440000", "450000"),
    ),
    SandboxBiller(
        "bj-water", "北京京润水务", "Beijing Jingrun Water", "json", "water", "exact",
        "^[0-9]{9}$", "9 位数字", "9 digits", ("110100",),
    ),
    SandboxBiller(
        "bj-heating", "北京暖宜热力", "Beijing Nuanyi Heating", "form", "heating", "range",
        "^BR[0-9]{8}$", "BR 加 8 位数字", "BR and 8 digits", ("110100",),
    ),
    SandboxBiller(
        "sh-water", "上海申清水务", "Shanghai Shenqing Water", "gbk-xml", "water", "exact",
        "^[0-9]{8}$", "8 位数字", "8 digits", ("310100",),
    ),
    SandboxBiller(
        "sh-gas", "上海申燃燃气", "Shanghai Shenran Gas", "json", "gas", "at_most",
        TEN_DIGITS, "10 位数字", "10 digits", ("310100",),
    ),
    SandboxBiller(
        "hz-water", "杭州清源水务", "Hangzhou Qingyuan Water", "json", "water", "exact",
        TEN_DIGITS, "10 位数字,见水费单", "10 digits, on the water bill", ("330100",),
    ),
    SandboxBiller(
        "hz-gas", "杭州天目燃气", "Hangzhou Tianmu Gas", "form", "gas", "any",
        "^HG[A-Z]{1}[0-9]{8}$", "HG、一个字母和 8 位数字,见燃气卡", "HG, a letter and 8 digits, on the gas card",
        ("330100",), 1_000,
    ),
    SandboxBiller(
        "gz-gas", "广州羊城燃气", "Guangzhou Yangcheng Gas", "gbk-xml", "gas", "any",
        "^[0-9]{12}$", "12 位数字", "12 digits", ("440100",),
    ),
    SandboxBiller(
        "cd-water", "成都蓉水", "Chengdu Rongshui Water", "json", "water", "at_least",
        "^[0-9]{11}$", "11 位数字", "11 digits", ("510100",),
    ),
    SandboxBiller(
        "cd-gas", "成都蓉城燃气", "Chengdu Rongcheng Gas", "gbk-xml", "gas", "at_most",
        "^[A-Z]{2}[0-9]{7}$", "两个字母加 7 位数字", "2 letters and 7 digits", ("510100",),
    ),
    SandboxBiller(
        "wh-water", "武汉江城水务", "Wuhan Jiangcheng Water", "form", "water", "range",
        "^[0-9]{9}$", "9 位数字", "9 digits", ("420100",),
    ),
    SandboxBiller(
        "xa-heating", "西安长安热力", "Xi'an Chang'an Heating", "gbk-xml", "heating", "at_least",
        "^XA[0-9]{6}$", "XA 加 6 位数字", "XA and 6 digits", ("610100",),
    ),
    SandboxBiller(
        "hrb-heating", "哈尔滨冰城热力", "Harbin Bingcheng Heating", "json", "heating", "range",
        "^[0-9]{7}[A-Z]{1}$", "7 位数字加一个字母", "7 digits and a letter", ("230100",),
    ),
    SandboxBiller(
        "lz-water", "兰州金城水务", "Lanzhou Jincheng Water", "file", "water", "exact",
        TEN_DIGITS, "10 位数字", "10 digits", ("620100",),
    ),
    SandboxBiller(
        "ty-heating", "太原并州热力", "Taiyuan Bingzhou Heating", "file", "heating", "any",
        "^TY[0-9]{8}$", "TY 加 8 位数字", "TY and 8 digits", ("140100",),
    ),
)
# fmt: on

BY_ID = {each.id: each for each in BILLERS}
_PART = re.compile(r"\[(0-9|A-Z)\]\{(\d+)\}|([0-9A-Z])")
_ALPHABETS = {"0-9": "0123456789", "A-Z": "ABCDEFGHJKLMNPQRSTUVWXYZ"}


def account_number(institution: SandboxBiller, dice: random.Random) -> str:
    """An account number that the institution's pattern takes."""
    return "".join(
        literal or "".join(dice.choices(_ALPHABETS[alphabet], k=int(count)))
        for alphabet, count, literal in _PART.findall(institution.pattern.strip("^$"))
    )
