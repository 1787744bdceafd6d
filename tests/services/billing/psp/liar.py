"""A PSP that answers whatever a test wants, over a real socket."""

import asyncio
import json
from datetime import UTC, datetime
from uuid import UUID

from services.billing.psp import (
    Charge,
)
from services.billing.subject import Kind, Subject

Json = dict[str, object]
PAYMENT = Subject(Kind.PAYMENT, UUID("00000000-0000-4000-8000-000000000001"))
CHARGE = Charge(PAYMENT, 8850, "CNY", "pm_card_visa")
NOW = datetime(2026, 9, 1, tzinfo=UTC)
OURS = {"charge_id": str(PAYMENT.id), "kind": "payment"}


class Liar:
    """Answers every request with the same bytes, and then closes or hangs."""

    def __init__(self) -> None:
        self.url = ""
        self.said = b""
        self.pause_seconds = 0.0
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            for at in range(0, len(self.said), 65_536):
                writer.write(self.said[at : at + 65_536])
                await writer.drain()
            await asyncio.sleep(self.pause_seconds)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def answers(self, body: Json | bytes, status: int = 200, headers: str = "") -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\nConnection: close\r\n"
        self.said = f"{head}{headers}\r\n".encode() + content


def an_intent(**changed: object) -> Json:
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "status": "requires_capture",
        "amount": 8850,
        "amount_capturable": 8850,
        "amount_received": 0,
        "currency": "cny",
        "metadata": OURS,
        **changed,
    }


def keys_in(head: bytes) -> str:
    """The Idempotency-Key of a request."""
    lines = head.decode().split("\r\n")
    return next(
        line.partition(": ")[2] for line in lines if line.lower().startswith("idempotency-key")
    )


def an_error(type: str = "invalid_request_error", **more: object) -> Json:
    return {"error": {"type": type, "code": "any_code", "message": "No.", **more}}
