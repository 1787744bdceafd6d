"""The mail message: multipart/alternative of text and HTML. Names and texts cannot add lines to its headers."""

import unicodedata
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from functools import cache
from pathlib import Path
from uuid import UUID

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from events.message import Event
from services.notifications.mail.words import Language, Words, words_of

_HERE = Path(__file__).parent
# RFC 5322 §2.1.1 limits lines, not subjects; mail clients show no more than this in a list.
_LONGEST_SUBJECT = 200


@dataclass(frozen=True, slots=True)
class Letter:
    """The content of a mail. `biller` is the biller's name in the payer's language, if the event has one."""

    delivery_id: UUID
    written_at: datetime
    event: Event
    to: str
    language: Language
    biller: str | None


def compose(letter: Letter, sender: str, public_url: str) -> EmailMessage:
    """Return the mail. The same letter gives the same message, Message-ID and boundary included.

    Raises ValueError for an address that does not fit into a header.
    """
    words = words_of(letter.event, letter.language, one_line(letter.biller or ""), public_url)
    message = EmailMessage(policy=SMTP)
    name, mailbox = parseaddr(sender)
    domain = mailbox.rpartition("@")[2]
    message["From"] = Address(one_line(name), addr_spec=mailbox)
    message["To"] = Address(addr_spec=letter.to)
    message["Subject"] = one_line(words.subject)[:_LONGEST_SUBJECT]
    message["Date"] = format_datetime(letter.written_at)
    message["Message-ID"] = f"<{letter.delivery_id}@{domain}>"
    # No answers from out-of-office robots (RFC 3834 §5).
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_render("letter.txt", words, letter.language), cte="base64")
    message.add_alternative(
        _render("letter.html", words, letter.language), subtype="html", cte="base64"
    )
    # After the content, which replaces all headers of its kind.
    message["Content-Language"] = letter.language
    message.set_boundary(f"=_{letter.delivery_id}")
    return message


def one_line(text: str) -> str:
    """The text without line breaks, control and formatting characters: names come from billers, and a header ends where
    its line does."""
    visible = "".join(
        " " if unicodedata.category(each) in {"Cc", "Cf", "Zl", "Zp", "Cs"} else each
        for each in text
    )
    return " ".join(visible.split())


def _render(template: str, words: Words, language: Language) -> str:
    return _environment().get_template(template).render(words=words, language=language)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
