"""Our client of the sandbox's PSP, with a clock that tests put forward."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from services.billing.psp import Authorized, Captured, Charge, Intent, Psp, Unknown
from services.billing.subject import Subject
from tests.services.billing.psp.liar import Liar
from tests.support.factories import a_payment
from tests.support.psp import Clock, SandboxPsp


@dataclass
class Till:
    """Charges and what they need, so that a test says what it is about."""

    client: Psp
    charges: list[Charge] = field(default_factory=list)

    def charge(self, method: str = "pm_card_visa", amount_minor: int = 8850) -> Charge:
        made = Charge(a_payment(), amount_minor, "CNY", method)
        self.charges.append(made)
        return made

    async def held(self) -> tuple[Subject, str]:
        """Our id and the PSP's of a charge that is held."""
        charge = self.charge()
        outcome = await self.client.authorize(charge)
        assert isinstance(outcome, Authorized), outcome
        return charge.subject, outcome.intent_id

    async def find(self, charge: Charge) -> Intent | Unknown | None:
        """The charge among all of today's."""
        now = datetime.now(UTC)
        return await self.client.find(charge, now - timedelta(hours=1), now)

    async def taken(self) -> tuple[Subject, str]:
        """Our id and the PSP's of a charge that is captured."""
        charge = self.charge()
        outcome = await self.client.charge(charge)
        assert isinstance(outcome, Captured), outcome
        return charge.subject, outcome.intent_id


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def client(psp: SandboxPsp, clock: Clock) -> AsyncIterator[Psp]:
    # Hanging answers are given up after a second.
    made = psp.client(timeout_seconds=1.0, clock=clock)
    yield made
    await made.aclose()


@pytest.fixture
def till(client: Psp) -> Till:
    return Till(client)


@pytest.fixture(autouse=True)
def _well_again(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "psp" in request.fixturenames:
        request.getfixturevalue("psp").clear_faults()


@pytest.fixture
async def liar() -> AsyncIterator[Liar]:
    made = Liar()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()


@pytest.fixture
async def lied_to(liar: Liar) -> AsyncIterator[Psp]:
    """Our client of the PSP that lies."""
    made = Psp(liar.url, "sk_test_x", timeout_seconds=1.0)
    yield made
    await made.aclose()
