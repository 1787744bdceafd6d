"""A wallet app as anybody could write it: HTTP with an API key, and Kafka with a signing key."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

import aiohttp
from aiokafka import AIOKafkaProducer

from events.envelope import headers
from events.ids import uuid7
from events.message import Event
from events.signature import SigningKey

Json = dict[str, Any]
# The number of requests that are open at the same time.
MOST_OPEN = 48


class WalletError(Exception):
    """The request was refused; the text is the problem's. `status` is that of the response, if there was one."""

    def __init__(self, problem: str, status: int = 0) -> None:
        super().__init__(problem)
        self.status = status


class WalletApp:
    """One channel of a city, by HTTP and by Kafka."""

    def __init__(
        self, environment: Mapping[str, str], secrets: Mapping[str, str], channel: str
    ) -> None:
        """Use the channel's channel_key, signing_key and notifications_token in `secrets`."""
        self.channel = channel
        self._billing = environment["METERHALL_BILLING_URL"]
        port = environment["METERHALL_NOTIFICATIONS_WEB_PORT"]
        self._notifications = f"http://127.0.0.1:{port}"
        self._key, self._token = secrets["channel_key"], secrets["notifications_token"]
        self._signing_key = SigningKey(secrets["signing_key"])
        self._kafka = environment["METERHALL_KAFKA"]

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MOST_OPEN),
            timeout=aiohttp.ClientTimeout(total=60),
        )
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka, enable_idempotence=True, acks="all"
        )
        await self._producer.start()
        return self

    async def __aexit__(
        self,
        _: type[BaseException] | None,
        __: BaseException | None,
        ___: TracebackType | None,
    ) -> None:
        await self._producer.stop()
        await self._http.close()

    async def look_up(self, biller_id: str, account_number: str) -> Json:
        """Look up what an account owes, and wait for the response."""
        body = {"biller_id": biller_id, "account_number": account_number}
        found = await self.post("/v1/lookups", body, {"Prefer": "wait=10"})
        while found.get("status") == "processing":
            await asyncio.sleep(0.2)
            found = await self.get(f"/v1/lookups/{found['id']}")
        return found

    async def pay(self, payment: Json) -> UUID:
        """Pay by HTTP; return the payment's id."""
        promised = await self.post("/v1/payments", payment)
        return UUID(promised["id"])

    async def send(self, command: Event, correlation_id: str | None = None) -> None:
        """Send a signed command by Kafka, with the envelope of the contract."""
        id, topic, value = uuid7(), type(command).topic.name, command.model_dump_json().encode()
        record_headers = headers(
            *(id, command.ce_type(), f"wallet/{self.channel}", command.key, datetime.now(UTC), 1),
            correlation_id=correlation_id,
            signature=self._signing_key.sign(topic, command.key, str(id), command.ce_type(), value),
        )
        await self._producer.send_and_wait(
            topic, value, key=command.key.encode(), headers=record_headers
        )

    async def top_up(self, payer: str, amount_minor: int) -> None:
        """Fill a payer's wallet through the PSP, and wait until the money is there."""
        body = {
            "payer": payer,
            "amount_minor": amount_minor,
            "currency": "CNY",
            "payment_method": "pm_card_visa",
        }
        promised = await self.post("/v1/top-ups", body)
        while (found := await self.get(f"/v1/top-ups/{promised['id']}"))["status"] != "succeeded":
            if found["status"] != "processing":
                raise WalletError(f"the top-up ended as {found['status']}: {found['reason']}")
            await asyncio.sleep(0.1)

    async def refund(self, payment_id: UUID, amount_minor: int | None = None) -> UUID:
        """Refund a payment; return the refund's id."""
        body = {} if amount_minor is None else {"amount_minor": amount_minor}
        promised = await self.post(f"/v1/payments/{payment_id}/refunds", body)
        return UUID(promised["id"])

    async def refunded(self, refund_id: UUID) -> str:
        """Return the final status of the refund."""
        while True:
            found = await self.get(f"/v1/refunds/{refund_id}")
            if found["status"] != "processing":
                return str(found["status"])
            await asyncio.sleep(0.1)

    async def introduce(self, payer: str, email: str, language: str) -> None:
        """Give notifications this payer's mail address and language."""
        url = f"{self._notifications}/v1/recipients/{payer}"
        await self._send("PUT", url, {"email": email, "language": language}, self._token)

    async def get(self, path: str) -> Any:
        """Send a GET request of this channel."""
        return await self._send("GET", self._billing + path, None, self._key)

    async def payments(self) -> list[Json]:
        """Return every payment of the channel, page after page."""
        items: list[Json] = []
        cursor = ""
        while True:
            page = await self.get(f"/v1/payments?limit=200{cursor}")
            items += page["items"]
            if not page["next_cursor"]:
                return items
            cursor = f"&cursor={page['next_cursor']}"

    async def post(self, path: str, body: Json, more: Mapping[str, str] | None = None) -> Json:
        """Send a POST request, with a new Idempotency-Key unless the headers in `more` have one."""
        fresh = {"Idempotency-Key": str(uuid4()), **(more or {})}
        answer = await self._send("POST", self._billing + path, body, self._key, fresh)
        assert isinstance(answer, dict)
        return answer

    async def _send(
        self,
        method: str,
        url: str,
        body: Json | None,
        secret: str,
        more: Mapping[str, str] | None = None,
    ) -> Any:
        request_headers = {"Authorization": f"Bearer {secret}", **(more or {})}
        async with self._http.request(method, url, json=body, headers=request_headers) as answer:
            if answer.status >= 400:
                problem = f"{method} {url}: {answer.status} {await answer.text()}"
                raise WalletError(problem, answer.status)
            return await answer.json() if answer.status != 204 else None
