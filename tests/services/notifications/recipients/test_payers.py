"""Payers' addresses: the database is the last that refuses what would break a mail's header."""

import pytest
from sqlalchemy.exc import DBAPIError

from services.notifications.recipients.payers import put_recipient
from tests.services.notifications.support import Hall


@pytest.mark.parametrize(
    ("email", "refusal"),
    [
        ("a@b.org\r\nBcc: c@d.org", "email_fits_a_header"),
        ("a@b.org\nX: y", "email_fits_a_header"),
        ("a b@c.org", "email_fits_a_header"),
        ("no-at-sign", "email_fits_a_header"),
        ("张@例子.中国", "email_fits_a_header"),
        ("a@" + "b" * 300, "character varying\\(254\\)"),
    ],
)
async def test_the_database_keeps_no_address_that_breaks_a_header(
    hall: Hall, email: str, refusal: str
) -> None:
    channel = await hall.channel()
    with pytest.raises(DBAPIError, match=refusal):
        async with hall.engine.begin() as connection:
            await put_recipient(connection, channel, "p", email, "en")
