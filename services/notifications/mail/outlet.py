"""Send a mail: look up the biller's name, compose the text, build the message, hand it to SMTP."""

import json

from events.message import EVENT_TYPES
from services.notifications.deliveries.outcomes import Delivery, Never, Outcome
from services.notifications.mail.billers import BillerNames
from services.notifications.mail.compose import Letter, compose
from services.notifications.mail.smtp import Smtp


class MailOutlet:
    """Sends mails.

    `sender` is a mailbox, for example `Meterhall <no-reply@…>`; receipts are verified at `public_url`.
    """

    def __init__(self, smtp: Smtp, names: BillerNames, sender: str, public_url: str) -> None:
        self._smtp = smtp
        self._names = names
        self._sender = sender
        self._public_url = public_url

    async def send(self, delivery: Delivery) -> Outcome:
        """Make one attempt. After a crash between sending and recording it is sent again with the same Message-ID,
        which most mailboxes show as one mail.
        """
        to, language = delivery.address.email, delivery.address.language
        if to is None or language is None:
            return Never("no_recipient")
        event = EVENT_TYPES[delivery.event_type].model_validate(json.loads(delivery.body)["data"])
        biller_id = getattr(event, "biller_id", None)
        name = await self._names.of(biller_id) if biller_id else None
        letter = Letter(
            delivery.id,
            delivery.created_at,
            event,
            to,
            "zh-CN" if language == "zh-CN" else "en",
            None if name is None else name.zh if language == "zh-CN" else name.en,
        )
        message = compose(letter, self._sender, self._public_url)
        sender = message["From"].addresses[0].addr_spec
        return await self._smtp.send(sender, to, message.as_bytes())

    async def aclose(self) -> None:
        """Close all connections."""
        await self._smtp.aclose()
        await self._names.aclose()
