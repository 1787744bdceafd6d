"""A channel follows its deliveries, over TCP to the real process."""

from typing import Any

from tests.services.notifications.client import api
from tests.services.notifications.support import Hall, failed, issued, message_of


async def test_deliveries_are_followed_page_by_page(hall: Hall, url: str) -> None:
    call = await api(hall, url)
    payer, email = await hall.payer(call.channel)
    other, _ = await hall.payer(call.channel)
    hall.mailbox.fail("refuse_5xx", recipient=email)
    await hall.take(message_of(issued(call.channel, payer)))
    await hall.sender.run_once()
    await hall.take(*(message_of(failed(call.channel, payer)) for _ in range(4)))
    await hall.take(message_of(issued(call.channel, other)))
    await hall.sender.run_once()

    seen: list[dict[str, Any]] = []
    cursor = None
    for _ in range(3):
        query = {"payer": payer, "limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await call("GET", "/v1/deliveries", params=query)).json()
        seen += page["items"]
        cursor = page["next_cursor"]
    assert cursor is None
    assert [each["status"] for each in seen] == ["delivered"] * 4 + ["failed"]
    assert {each["payer"] for each in seen} == {payer}
    assert [each["id"] for each in seen] == sorted((each["id"] for each in seen), reverse=True)
    wrong = (await call("GET", "/v1/deliveries", params={"status": "failed"})).json()["items"]
    assert [(each["reason"], each["medium"]) for each in wrong] == [("smtp_550", "mail")]
    stranger = await api(hall, url)
    assert (await stranger("GET", "/v1/deliveries", params={"payer": payer})).json()["items"] == []
    for query in ({}, {"status": "delivered"}, {"payer": payer, "cursor": "x"}, {"limit": 0}):
        answer = await call("GET", "/v1/deliveries", params=query)
        assert answer.status_code == 422
        assert answer.headers["Content-Type"] == "application/problem+json"
