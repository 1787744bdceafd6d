"""The text of a mail, in the payer's language. Plain text and HTML are two forms of the same words."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from babel.dates import format_datetime
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_currency, get_currency_precision
from babel.support import Translations

from chassis.china import CHINA
from events.message import Event
from events.payments import PaymentFailed, PaymentRefunded
from events.receipts import ReceiptIssued, ReceiptVoided

Language = Literal["zh-CN", "en"]

_LOCALES: dict[Language, str] = {"zh-CN": "zh_Hans_CN", "en": "en"}
_TIMES: dict[Language, str] = {"zh-CN": "y年M月d日 HH:mm:ss", "en": "d MMMM y, HH:mm:ss"}
_TRANSLATIONS = Path(__file__).parent / "translations"

Say = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Words:
    """A mail's words. `facts` are labels with values, `link` is a label and a URL; `good` is True for good news."""

    subject: str
    title: str
    lines: list[str]
    footer: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    link: tuple[str, str] | None = None
    good: bool = True


def words_of(event: Event, language: Language, biller: str, public_url: str) -> Words:
    """Return the words for an event about which payers get a mail. Raises TypeError for any other event.

    `biller` is the biller's name, or empty when the event has no biller.
    """
    match event:
        case ReceiptIssued():
            return _receipt_issued(event, language, biller, public_url)
        case PaymentFailed():
            return _payment_failed(event, language, biller)
        case PaymentRefunded():
            return _refunded(event, language, biller)
        case ReceiptVoided():
            return _receipt_voided(event, language, public_url)
    raise TypeError(f"{type(event).__name__} has no mail")


def money(amount_minor: int, currency: str, language: Language) -> str:
    """Format an amount as people write it: ¥88.50."""
    amount = Decimal(amount_minor).scaleb(-get_currency_precision(currency))
    return str(format_currency(amount, currency, locale=_LOCALES[language]))


def china_time(at: datetime, language: Language) -> str:
    """Format a moment in the time of payers and billers, Asia/Shanghai."""
    return str(format_datetime(at, _TIMES[language], tzinfo=CHINA, locale=_LOCALES[language]))


def grouped(number: str) -> str:
    """Return a receipt number as it is printed: 20261123-7K2M-9QXA-B0CD-4TFW."""
    if len(number) != 24:
        return number
    return "-".join((number[:8], number[8:12], number[12:16], number[16:20], number[20:]))


def _receipt_issued(
    event: ReceiptIssued, language: Language, biller: str, public_url: str
) -> Words:
    _ = translations(language).gettext
    amount = money(event.amount_minor, event.currency, language)
    about = {"amount": amount, "biller": biller}
    return Words(
        subject=_("Receipt: %(amount)s to %(biller)s") % about,
        title=_("Your payment arrived"),
        lines=[_("%(biller)s has marked your bill paid.") % about],
        facts=[
            (_("Paid to"), biller),
            (_("Amount"), amount),
            (_("Paid"), f"{china_time(event.issued_at, language)} {_('Beijing time')}"),
            (_("Receipt number"), grouped(event.receipt_number)),
        ],
        link=(_("Show and verify the receipt"), _verify_url(public_url, event.receipt_number)),
        footer=_footer(_),
    )


def _payment_failed(event: PaymentFailed, language: Language, biller: str) -> Words:
    _ = translations(language).gettext
    amount = money(event.amount_minor, event.currency, language)
    about = {"amount": amount, "biller": biller}
    why = {
        "declined": _(
            "Your means of payment was refused. You can pay the bill again with another one."
        ),
        "voided": _("The biller did not take the payment, and the money set aside is yours again."),
        "rejected": _("The payment could not be started."),
    }[event.outcome]
    return Words(
        subject=(
            _("Payment failed: %(amount)s to %(biller)s")
            if biller
            else _("Payment failed: %(amount)s")
        )
        % about,
        title=_("Your payment failed"),
        lines=[why, _("No money was taken.")],
        facts=[
            *([(_("To"), biller)] if biller else []),
            (_("Amount"), amount),
            (_("Code"), event.reason),
        ],
        good=False,
        footer=_footer(_),
    )


def _refunded(event: PaymentRefunded, language: Language, biller: str) -> Words:
    _ = translations(language).gettext
    refund = money(event.refund_minor, event.currency, language)
    whole = event.refunded_minor >= event.amount_minor
    about = {"refund": refund, "biller": biller}
    return Words(
        subject=_("Refund: %(refund)s") % about,
        title=_("Money is on its way back to you"),
        lines=[
            _("The whole amount has been given back, so the receipt proves no payment any more.")
            if whole
            else _(
                "A part of your payment has been given back. The receipt stays valid and shows the refund."
            )
        ],
        facts=[
            *([(_("Paid to"), biller)] if biller else []),
            (_("Paid amount"), money(event.amount_minor, event.currency, language)),
            (_("Given back now"), refund),
            (_("Given back so far"), money(event.refunded_minor, event.currency, language)),
        ],
        footer=_footer(_),
    )


def _receipt_voided(event: ReceiptVoided, language: Language, public_url: str) -> Words:
    _ = translations(language).gettext
    number = grouped(event.receipt_number)
    return Words(
        subject=_("Receipt void: %(number)s") % {"number": number},
        title=_("A receipt of yours is void"),
        lines=[
            _(
                "The biller took its mark back: the bill is open again and your money is on its way back."
            )
        ],
        facts=[(_("Receipt number"), number)],
        good=False,
        link=(_("Show the receipt"), _verify_url(public_url, event.receipt_number)),
        footer=_footer(_),
    )


def _footer(_: Say) -> str:
    return _("This mail was sent automatically. Nobody reads answers to it.")


def _verify_url(public_url: str, number: str) -> str:
    return f"{public_url.rstrip('/')}/r/{grouped(number)}"


@cache
def translations(language: Language) -> Any:
    """Return the messages of a language, read from its .po file, so that no compiled file can be out of date."""
    path = _TRANSLATIONS / f"{language}.po"
    if not path.exists():  # the texts in the code are English
        return Translations()
    compiled = BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=_LOCALES[language]))
    compiled.seek(0)
    return Translations(compiled)
