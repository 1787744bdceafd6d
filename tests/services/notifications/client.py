"""A channel's client of the API, over TCP to the real process."""

from dataclasses import dataclass
from typing import Any

import httpx

from services.notifications.recipients.tokens import add_channel
from tests.services.notifications.support import Hall


@dataclass
class Api:
    """A channel's client."""

    url: str
    channel: str
    token: str

    async def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url) as client:
            headers = {"Authorization": f"Bearer {self.token}"}
            return await client.request(method, path, headers=headers, **more)


async def api(hall: Hall, url: str) -> Api:
    channel = await hall.channel()
    async with hall.engine.begin() as connection:
        return Api(url, channel, await add_channel(connection, channel))
