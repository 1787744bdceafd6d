"""Every text that is stored gets a length, so that whatever is let in can be written everywhere later.

Ids are not cut: the doors have bounded them from the beginning. Each table is rewritten once, under a lock that keeps
its readers out.
"""

from alembic import op

from messaging.outbox.ddl import bound_texts

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Only headers can have made a body as large as that, because its event has at most 900,000 bytes. They are left out,
# and the event stays byte for byte. Inside a JSON text a quote has a backslash before it, so the first match is `data`.
_SHORTEN_BODIES = """
UPDATE deliveries SET body = convert_to(
        '{"specversion": "1.0", "id": "' || event_id || '", "type": "' || event_type
            || '", "source": "meterhall/billing", "datacontenttype": "application/json"', 'UTF8')
    || substring(body FROM position(convert_to(', "data": ', 'UTF8') IN body))
WHERE octet_length(body) > 1000000
"""
_BOUNDS = (
    "ALTER TABLE channels ALTER id TYPE varchar(40)",
    "ALTER TABLE tokens ALTER prefix TYPE varchar(64), ALTER channel TYPE varchar(40)",
    """
    ALTER TABLE recipients ALTER channel TYPE varchar(40), ALTER payer TYPE varchar(64), ALTER email TYPE varchar(254),
        DROP CONSTRAINT ck_recipients_email_fits_a_header,
        ADD CONSTRAINT ck_recipients_email_fits_a_header CHECK (email ~ '^[!-~]+@[!-~]+$')
    """,
    """
    ALTER TABLE endpoints ALTER channel TYPE varchar(40), ALTER url TYPE varchar(2000),
        ALTER secret TYPE varchar(200), ALTER previous_secret TYPE varchar(200),
        DROP CONSTRAINT ck_endpoints_url_is_http,
        ADD CONSTRAINT ck_endpoints_url_is_http CHECK (url ~ '^https?://[!-~]+$')
    """,
    # A part of a traceparent would name another trace, so one that is too long goes as a whole.
    """
    ALTER TABLE deliveries ALTER recipient TYPE varchar(64), ALTER channel TYPE varchar(40),
        ALTER payer TYPE varchar(64), ALTER event_type TYPE varchar(100),
        ALTER reason TYPE varchar(64) USING left(reason, 64),
        ALTER correlation_id TYPE varchar(128) USING left(correlation_id, 128),
        ALTER traceparent TYPE varchar(55) USING CASE WHEN length(traceparent) <= 55 THEN traceparent END,
        ADD CONSTRAINT ck_deliveries_body_fits CHECK (octet_length(body) <= 1000000)
    """,
)
_NO_BOUNDS = (
    """
    ALTER TABLE deliveries DROP CONSTRAINT ck_deliveries_body_fits, ALTER recipient TYPE text, ALTER channel TYPE text,
        ALTER payer TYPE text, ALTER event_type TYPE text, ALTER reason TYPE text, ALTER correlation_id TYPE text,
        ALTER traceparent TYPE text
    """,
    """
    ALTER TABLE endpoints ALTER channel TYPE text, ALTER url TYPE text, ALTER secret TYPE text,
        ALTER previous_secret TYPE text, DROP CONSTRAINT ck_endpoints_url_is_http,
        ADD CONSTRAINT ck_endpoints_url_is_http CHECK (url ~ '^https?://[!-~]+$' AND length(url) <= 2000)
    """,
    """
    ALTER TABLE recipients ALTER channel TYPE text, ALTER payer TYPE text, ALTER email TYPE text,
        DROP CONSTRAINT ck_recipients_email_fits_a_header,
        ADD CONSTRAINT ck_recipients_email_fits_a_header CHECK (length(email) <= 254 AND email ~ '^[!-~]+@[!-~]+$')
    """,
    "ALTER TABLE tokens ALTER prefix TYPE text, ALTER channel TYPE text",
    "ALTER TABLE channels ALTER id TYPE text",
)


def upgrade() -> None:
    op.execute(_SHORTEN_BODIES)
    for statement in _BOUNDS:
        op.execute(statement)
    bound_texts(op)


def downgrade() -> None:
    for statement in _NO_BOUNDS:
        op.execute(statement)
