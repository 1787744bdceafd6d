"""SMTP in, by aiosmtpd: one row for each recipient, acknowledged when it is on disk."""

import asyncio
import socket
from typing import Any, cast

from aiosmtpd.smtp import SMTP

from sandbox.mailbox.mail_faults import MailFaults
from sandbox.mailbox.mail_store import MailStore

LARGEST_MAIL_BYTES = 10_000_000


class MailReceiver:
    """aiosmtpd's handler; its methods have the names that aiosmtpd calls."""

    def __init__(self, store: MailStore, faults: MailFaults) -> None:
        self._store = store
        self._faults = faults

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's
        self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        match self._faults.pick(address, "refuse_4xx", "refuse_5xx"):
            case None:
                envelope.rcpt_tos.append(address)
                return "250 OK"
            case fault:
                await self._store.durable()
                if fault.kind == "refuse_4xx":
                    return "450 4.2.1 The mail box refuses this for now, as configured"
                return "550 5.1.1 The mail box refuses this for good, as configured"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        fault = self._faults.pick(envelope.rcpt_tos[0], "delay", "drop_before", "drop_after")
        kind = fault and fault.kind
        if fault is not None and kind == "delay":
            await asyncio.sleep(fault.seconds)
        if kind != "drop_before":
            for recipient in envelope.rcpt_tos:
                self._store.add(envelope.mail_from or "", recipient, envelope.original_content)
        await self._store.durable()
        if kind in {"drop_before", "drop_after"}:
            # uvloop's transport is none of asyncio's classes.
            cast(asyncio.Transport, server.transport).abort()
        return "250 OK, kept"


async def listen(receiver: MailReceiver, listener: socket.socket) -> asyncio.Server:
    """Take mails from this socket; close the server to stop."""
    loop = asyncio.get_running_loop()

    def connection() -> SMTP:
        return SMTP(
            receiver,
            hostname="mailbox.sandbox",
            ident="Meterhall sandbox",
            data_size_limit=LARGEST_MAIL_BYTES,
            enable_SMTPUTF8=True,
            loop=loop,
        )

    return await loop.create_server(connection, sock=listener, backlog=512)
