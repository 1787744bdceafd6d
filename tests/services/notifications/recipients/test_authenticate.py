"""Only a token that was issued and not revoked opens the API."""

from sqlalchemy import text

from services.notifications.recipients.tokens import revoke_token
from tests.services.notifications.client import Api, api
from tests.services.notifications.support import Hall


async def test_nobody_gets_in_without_a_token_that_holds(hall: Hall, url: str) -> None:
    call = await api(hall, url)
    for token in ("x", "mhn_deadbeef_x", call.token[:-1], call.token + "x", f"{call.token} x"):
        answer = await Api(url, "", token)("GET", "/v1/endpoint")
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.json()["type"] == "/problems/unauthorized"
    async with hall.engine.begin() as connection:
        assert call.token not in str((await connection.execute(text("SELECT * FROM tokens"))).all())
        assert await revoke_token(connection, call.token) == call.channel
    # Never used before, so nothing has to be forgotten first.
    assert (await call("GET", "/v1/endpoint")).status_code == 401
