"""An amount of renminbi in the capital numerals that Chinese receipts carry: 88.50 is 人民币捌拾捌元伍角整.

After the annex of the central bank's rules for payment and settlement (支付结算办法, 附一): a gap of zeros is
one 零, and an amount without 分 ends with 整.
"""

_DIGITS = "零壹贰叁肆伍陆柒捌玖"
_UNITS = ((10**8, "亿"), (10**4, "万"), (1_000, "仟"), (100, "佰"), (10, "拾"))


def capitals(fen: int) -> str:
    """Return a positive amount in words that cannot be altered by a stroke."""
    yuan, cents = divmod(fen, 100)
    jiao, fen = divmod(cents, 10)
    words = "人民币" + (f"{_number(yuan)}元" if yuan else "")
    if jiao:
        words += f"{_DIGITS[jiao]}角"
    elif fen and yuan:
        words += "零"
    return words + (f"{_DIGITS[fen]}分" if fen else "整")


def _number(number: int) -> str:
    for size, unit in _UNITS:
        if number >= size:
            many, rest = divmod(number, size)
            gap = "零" if 0 < rest < size // 10 else ""
            return f"{_number(many)}{unit}{gap}{_number(rest) if rest else ''}"
    return _DIGITS[number]
