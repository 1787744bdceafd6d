"""The PSP's raw API, for what our client never does, and PSPs of a test's own for clocks, restarts and webhooks."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.psp import RETURN_URL, SandboxPsp

Form = dict[str, str]
Post = Callable[..., Any]


class Api:
    """Stripe's API by hand: forms in, JSON out."""

    def __init__(self, provider: SandboxPsp) -> None:
        self.http = httpx.AsyncClient(
            base_url=provider.url, headers={"Authorization": f"Bearer {provider.api_key}"}
        )

    async def post(self, path: str, form: Form, key: str | None = None) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        return await self.http.post(path, data=form, headers=headers)

    async def get(self, path: str, **params: str) -> Any:
        answer = await self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def pay(self, **changed: str) -> Any:
        """A captured payment, as Stripe tells of it."""
        answer = await self.post("/v1/payment_intents", a_payment(**changed))
        assert answer.status_code == 200, answer.text
        return answer.json()


def a_payment(**changed: str) -> Form:
    """The form of a payment that succeeds at once."""
    return {
        "amount": "8850",
        "currency": "cny",
        "payment_method": "pm_card_visa",
        "confirm": "true",
        "return_url": RETURN_URL,
        **changed,
    }


@pytest.fixture
async def api(psp: SandboxPsp) -> AsyncIterator[Api]:
    """The run's PSP."""
    made = Api(psp)
    yield made
    await made.http.aclose()


@pytest.fixture
def own_psp(tmp_path: Path) -> Iterator[SandboxPsp]:
    """A PSP of this test's own: its clock may be moved, it may be killed."""
    with SandboxPsp(tmp_path / "psp") as provider:
        yield provider


@pytest.fixture
async def own_api(own_psp: SandboxPsp) -> AsyncIterator[Api]:
    made = Api(own_psp)
    yield made
    await made.http.aclose()
