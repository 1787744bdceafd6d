"""The public page of a receipt: HTML that prints on A5, in Chinese and English.

The page is complete in itself: no script, no request to anywhere, and only our own style.
"""

from datetime import datetime
from decimal import Decimal
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Literal

import segno
from babel.dates import format_datetime
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_currency, get_currency_precision
from babel.support import Translations
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from chassis.china import CHINA
from chassis.http.pages import page_headers
from services.billing.receipts.capitals import capitals
from services.billing.receipts.number import Typo, grouped
from services.billing.receipts.verify import Receipt

Language = Literal["zh-CN", "en"]
Unverified = Typo | Literal["unknown", "empty"]

_HERE = Path(__file__).parent
_STYLE = (_HERE / "templates" / "receipt.css").read_text()
_LOCALES: dict[Language, str] = {"zh-CN": "zh_Hans_CN", "en": "en"}
_TIMES: dict[Language, str] = {"zh-CN": "y年M月d日 HH:mm:ss", "en": "d MMMM y, HH:mm:ss"}

HEADERS = {
    **page_headers(_STYLE, has_form=True),
    "X-Robots-Tag": "noindex, nofollow",
    # A receipt can become void at any moment.
    "Cache-Control": "no-store",
    "Vary": "Accept, Accept-Language",
}


def receipt_page(receipt: Receipt, language: Language, verify_url: str, now: datetime) -> str:
    """Return the page of a receipt as of `now`. `verify_url` is its public address, which is in the QR code."""
    # Chinese receipts have the amount in words that cannot be altered by a stroke.
    spelled = language == "zh-CN" and receipt.currency == "CNY"
    return (
        _environment(language)
        .get_template("receipt.html")
        .render(
            receipt=receipt,
            number=grouped(receipt.number),
            biller=receipt.biller_zh if language == "zh-CN" else receipt.biller_en,
            amount=money(receipt.amount_minor, receipt.currency, language),
            in_words=capitals(receipt.amount_minor) if spelled else "",
            refunded=money(receipt.refunded_minor, receipt.currency, language),
            paid_at=china_time(receipt.issued_at, language),
            voided_at=receipt.voided_at and china_time(receipt.voided_at, language),
            checked_at=china_time(now, language),
            verify_url=verify_url,
            qr=qr_code(verify_url),
        )
    )


def unverified_page(why: Unverified, typed: str, language: Language) -> str:
    """Return the page that says why no receipt is shown, with a form to type the number (again)."""
    return _environment(language).get_template("unverified.html").render(why=why, typed=typed)


def money(amount_minor: int, currency: str, language: Language) -> str:
    """Format an amount as people write it: ¥88.50."""
    amount = Decimal(amount_minor).scaleb(-get_currency_precision(currency))
    return str(format_currency(amount, currency, locale=_LOCALES[language]))


def china_time(at: datetime, language: Language) -> str:
    """Format a moment in the time of payers and billers, Asia/Shanghai."""
    written = format_datetime(at, _TIMES[language], tzinfo=CHINA, locale=_LOCALES[language])
    return str(written)


def qr_code(url: str) -> Markup:
    """Return the URL's QR code as an SVG for the page. Level M: a fold or a stain may hide 15 % of it."""
    svg = segno.make(url, error="m", micro=False).svg_inline(
        border=0, omitsize=True, svgclass="qr", lineclass=None
    )
    return Markup(svg)  # noqa: S704 - made by segno, of squares only


def translations(language: Language) -> Translations:
    """Return the messages of a language, read from its .po file, so that no compiled file can be out of date."""
    compiled = BytesIO()
    path = _HERE / "translations" / f"{language}.po"
    if path.exists():  # the texts in the templates are English
        with path.open("rb") as file:
            write_mo(compiled, read_po(file, locale=_LOCALES[language]))
        compiled.seek(0)
        return Translations(compiled)
    return Translations()


@cache
def _environment(language: Language) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.install_gettext_translations(  # type: ignore[attr-defined]
        translations(language), newstyle=True
    )
    environment.globals.update(language=language, style=Markup(_STYLE))  # noqa: S704 - our own file
    return environment
