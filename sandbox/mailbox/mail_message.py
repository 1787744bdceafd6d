"""A mail as people and programs read it."""

from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from sandbox.mailbox.mail_store import StoredMail


def parsed(mail: StoredMail) -> EmailMessage:
    """Return the parsed message."""
    return message_from_bytes(mail.raw, policy=default)


def part(message: EmailMessage, kind: str) -> str | None:
    """Return its text ("plain") or its page ("html"), or None."""
    found = message.get_body((kind,))
    return None if found is None else str(found.get_content())


def as_json(mail: StoredMail) -> dict[str, Any]:
    """Return a mail as JSON."""
    message = parsed(mail)
    return {
        "number": mail.number,
        "id": str(message["Message-ID"] or ""),
        "received_at": datetime.fromtimestamp(mail.received_at, UTC).isoformat(),
        "from": mail.sender,
        "to": mail.recipient,
        "subject": str(message["Subject"] or ""),
        "body": part(message, "plain") or "",
        "html": part(message, "html"),
        "headers": [[name, str(value)] for name, value in message.items()],
    }
