"""SMTP out: a few connections, each for one message at a time, reused while they are fresh.

A 5xx to the envelope or the message is final (RFC 5321 §4.2.1). Everything else is tried again: 4xx, failures of the
connection, and a server that refuses us (greeting, TLS, login) instead of the message.
"""

import asyncio
import time

import aiosmtplib
from aiosmtplib import SMTP

from services.notifications.deliveries.outcomes import Delivered, Later, Never, Outcome
from services.notifications.settings import Settings

# A server may close an idle connection at any time; one that was idle for longer is not used for a mail.
FRESH_SECONDS = 5.0
_MOST_IDLE = 64


class Smtp:
    """The mail server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._idle: list[tuple[float, SMTP]] = []

    async def send(self, sender: str, recipient: str, message: bytes) -> Outcome:
        """Send one message to one recipient, within the timeout."""
        try:
            # aiosmtplib's own timeout is for each command.
            async with asyncio.timeout(self._settings.mail_timeout_seconds):
                return await self._send(sender, recipient, message)
        except TimeoutError:
            return Later("timeout")

    async def _send(self, sender: str, recipient: str, message: bytes) -> Outcome:
        try:
            client = await self._connection()
        except TimeoutError:
            raise
        except (aiosmtplib.SMTPException, OSError) as error:
            code = getattr(error, "code", None)
            return Later(f"smtp_refuses_us_{code}" if code else "no_connection")
        keep = False
        try:
            await client.sendmail(sender, [recipient], message)
            keep = True
        except (aiosmtplib.SMTPRecipientsRefused, aiosmtplib.SMTPResponseException) as error:
            keep = True
            return _refused(_code(error))
        except (aiosmtplib.SMTPException, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            return Later("connection_lost")
        finally:
            if keep and client.is_connected and len(self._idle) < _MOST_IDLE:
                self._idle.append((time.monotonic(), client))
            else:
                client.close()
        return Delivered()

    async def aclose(self) -> None:
        """Close the connections."""
        while self._idle:
            self._idle.pop()[1].close()

    async def _connection(self) -> SMTP:
        now = time.monotonic()
        # The connection used last is the freshest; the others stay idle and are closed in time.
        while self._idle:
            since, client = self._idle.pop()
            if now - since < FRESH_SECONDS and client.is_connected:
                return client
            client.close()
        settings = self._settings
        password = settings.smtp_password
        client = SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            username=settings.smtp_username,
            password=password.get_secret_value() if password else None,
            timeout=settings.mail_timeout_seconds,
            use_tls=settings.smtp_tls == "implicit",
            start_tls={"never": False, "required": True, "if_offered": None}.get(
                settings.smtp_tls, False
            ),
        )
        await client.connect()
        return client


def _code(error: aiosmtplib.SMTPRecipientsRefused | aiosmtplib.SMTPResponseException) -> int:
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return error.recipients[0].code
    return error.code


def _refused(code: int) -> Outcome:
    return Never(f"smtp_{code}") if 500 <= code < 600 else Later(f"smtp_{code}")
