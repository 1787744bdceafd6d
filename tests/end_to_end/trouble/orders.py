"""The orders of a wallet during the disruptions: payments, top-ups and refunds, which cause the planned faults."""

import asyncio
import random
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from uuid import UUID, uuid4

from events.ids import uuid7
from events.payments import RefundPayment, TopUpWallet
from sandbox.billers.biller_list import BILLERS
from sandbox.demo.wallet_app import WalletApp
from sandbox.local_city import CHANNEL
from sandbox.psp.psp_faults import KINDS
from tests.end_to_end.load.traffic import OwedBill, pay_bill, retry_until_answered
from tests.end_to_end.trouble import fault_plan

PAYERS = [f"trouble-{number:02d}" for number in range(20)]
# A payment that has not succeeded this long after the last one was sent gets no refund.
REFUND_SECONDS = 60.0
_BY_FILE = {each.id for each in BILLERS if each.settled_by == "file"}


@dataclass
class PaymentOrder:
    """One payment, its means of payment (None: the wallet), and its refund afterwards."""

    bill: OwedBill
    payment_method: str | None
    refund: str | None = None  # full or part
    may_fail: bool = False


@dataclass
class Sent:
    """The ids of the payments, refunds and top-ups that the wallet has sent."""

    payments: dict[UUID, PaymentOrder] = field(default_factory=dict)
    refunds: dict[UUID, UUID] = field(default_factory=dict)  # to the payment that it refunds
    top_ups: set[UUID] = field(default_factory=set)


def make_orders(bills: dict[str, list[OwedBill]], chance: random.Random) -> list[PaymentOrder]:
    """Return an order for each bill, shuffled: some cause a planned fault, the others are ordinary."""
    refused = bills.pop(fault_plan.REFUSES_APPLY)
    kept = bills.pop(fault_plan.REFUSES_UNAPPLY)
    orders = [PaymentOrder(bill, None, None, may_fail=True) for bill in refused]
    for order, kind in zip(orders, KINDS, strict=False):
        order.payment_method = fault_plan.method("void", kind)
    orders += [PaymentOrder(bill, "pm_card_visa", "full") for bill in kept]
    rest = list(chain.from_iterable(bills.values()))
    chance.shuffle(rest)
    # Orders that cause a fault take bills from the end of the list, where the called billers are.
    rest.sort(key=lambda bill: bill["biller_id"] not in _BY_FILE)
    orders += [_with_fault(*each, rest.pop()) for each in _money_faults()]
    for number, bill in enumerate(rest):
        refund = {0: "full", 3: "part"}.get(number % 6)
        orders.append(PaymentOrder(bill, "pm_card_visa" if number % 4 < 2 else None, refund))
    chance.shuffle(orders)
    return orders


def _money_faults() -> list[tuple[str, str, str | None]]:
    faults: list[tuple[str, str, str | None]] = []
    for kind in KINDS:
        faults += [("authorize", kind, None), ("capture", kind, None), ("refund", kind, "part")]
        # At a full refund the biller has unapplied the bill, so the PSP must not refuse it; only a partial one it may.
        if kind != "refuse":
            faults.append(("refund", kind, "full"))
    return faults


def _with_fault(operation: str, kind: str, refund: str | None, bill: OwedBill) -> PaymentOrder:
    may_fail = kind == "refuse" and refund is None
    return PaymentOrder(bill, fault_plan.method(operation, kind), refund, may_fail)


async def send_payments(
    wallet: WalletApp, orders: list[PaymentOrder], sent: Sent, apart_seconds: float
) -> None:
    """Send all orders, alternately by HTTP and by Kafka."""

    async def pay(number: int, order: PaymentOrder) -> None:
        command = pay_bill(order.bill, PAYERS[number % len(PAYERS)], order.payment_method)
        if number % 2:
            await retry_until_answered(lambda: wallet.send(command))
            sent.payments[command.payment_id] = order
            return
        body = command.model_dump(mode="json", exclude={"payment_id", "channel"})
        sent.payments[await _post(wallet, "/v1/payments", body)] = order

    async with asyncio.TaskGroup() as group:
        for number, order in enumerate(orders):
            group.create_task(pay(number, order))
            await asyncio.sleep(apart_seconds)


async def send_top_ups(wallet: WalletApp, sent: Sent, apart_seconds: float) -> None:
    """Send a top-up with each fault, alternately by HTTP and by Kafka."""

    async def top_up(number: int, kind: str) -> None:
        command = TopUpWallet(
            top_up_id=uuid7(),
            channel=CHANNEL,
            payer=PAYERS[number],
            amount_minor=1_000 + number,
            currency="CNY",
            payment_method=fault_plan.method("charge", kind),
        )
        if number % 2:
            await retry_until_answered(lambda: wallet.send(command))
            sent.top_ups.add(command.top_up_id)
            return
        body = command.model_dump(mode="json", exclude={"top_up_id", "channel"})
        sent.top_ups.add(await _post(wallet, "/v1/top-ups", body))

    async with asyncio.TaskGroup() as group:
        for number, kind in enumerate(KINDS):
            group.create_task(top_up(number, kind))
            await asyncio.sleep(apart_seconds)


async def send_refunds(wallet: WalletApp, count: int, sent: Sent) -> None:
    """Send the refunds of the `count` payments once they have succeeded, alternately by HTTP and by Kafka."""
    refunded: set[UUID] = set()
    seconds_left = REFUND_SECONDS
    async with asyncio.TaskGroup() as group:
        while seconds_left > 0:
            known = {UUID(each["id"]): each for each in await retry_until_answered(wallet.payments)}
            wanted = {id for id, order in sent.payments.items() if order.refund} - refunded
            waiting = 0
            for id in wanted:
                status = known[id]["status"] if id in known else "processing"
                waiting += status == "processing"
                if status == "succeeded":
                    refunded.add(id)
                    amount_minor = int(known[id]["amount_minor"])
                    part = max(amount_minor // 3, 1) if sent.payments[id].refund == "part" else None
                    group.create_task(_refund(wallet, id, part, sent))
            if len(sent.payments) == count:
                seconds_left -= 1 if waiting else seconds_left
            await asyncio.sleep(1)


async def _refund(wallet: WalletApp, id: UUID, part: int | None, sent: Sent) -> None:
    if len(sent.refunds) % 2:
        command = RefundPayment(
            refund_id=uuid7(), payment_id=id, channel=CHANNEL, amount_minor=part
        )
        await retry_until_answered(lambda: wallet.send(command))
        sent.refunds[command.refund_id] = id
        return
    body = {} if part is None else {"amount_minor": part}
    sent.refunds[await _post(wallet, f"/v1/payments/{id}/refunds", body)] = id


async def _post(wallet: WalletApp, path: str, body: dict[str, Any]) -> UUID:
    # All retries have the same key, so they count as one request.
    key = {"Idempotency-Key": str(uuid4())}
    return UUID((await retry_until_answered(lambda: wallet.post(path, body, key)))["id"])
