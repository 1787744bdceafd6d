"""POST an event to its channel's endpoint: signed, bounded, without following redirects.

2xx within the timeout is delivered; 410 Gone is final; everything else is tried again. The body is the same, byte for
byte, at every attempt, so a receiver can drop duplicates by the event's `id`. The order is not guaranteed; `sequence`
shows it.
"""

import time

import aiohttp

from services.notifications.deliveries.outcomes import Delivered, Delivery, Later, Never, Outcome
from services.notifications.recipients.urls import RefusedAddressError, check_url, guarded_socket
from services.notifications.webhooks.sign import HEADER, sign

_HEADERS = {
    "Content-Type": "application/cloudevents+json; charset=utf-8",
    "User-Agent": "Meterhall",
}
# The most of a response that is read to keep the connection; a longer one closes it.
_MOST_READ_BYTES = 4_096


class WebhookOutlet:
    """Sends webhooks. Open it inside a running event loop; close it at the end."""

    def __init__(self, timeout_seconds: float, *, allow_loopback: bool = False) -> None:
        self._allow_loopback = allow_loopback
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # the sender bounds concurrent attempts
                ttl_dns_cache=60,
                socket_factory=guarded_socket(allow_loopback=allow_loopback),
            ),
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers=_HEADERS,
        )

    async def send(self, delivery: Delivery) -> Outcome:
        """Make one attempt."""
        address = delivery.address
        if address.url is None:
            return Never("no_endpoint")
        try:
            check_url(address.url, allow_loopback=self._allow_loopback)
        except ValueError:
            return Never("address_refused")
        # The time is new at each attempt, because receivers refuse old ones.
        signature = sign(delivery.body, address.secrets, int(time.time()))
        try:
            async with self._session.post(
                address.url,
                data=delivery.body,
                headers={HEADER: signature},
                allow_redirects=False,
            ) as answer:
                await answer.content.read(_MOST_READ_BYTES)
                return _read(answer.status)
        except TimeoutError:
            return Later("timeout")
        except (aiohttp.ClientError, OSError) as error:
            cause = getattr(error, "os_error", error)
            if isinstance(cause, RefusedAddressError):
                return Never("address_refused")
            return Later("no_connection")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()


def _read(status: int) -> Outcome:
    if 200 <= status < 300:
        return Delivered()
    return Never("http_410") if status == 410 else Later(f"http_{status}")
