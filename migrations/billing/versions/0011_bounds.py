"""Every free text has a bound: what a door lets in, every later write can hold (events/bounds.py).

Words for people and optional headers are cut or dropped where old rows have longer ones; ids were bounded at the doors
already. Each table is written anew once: plan a minute for each five million payments.
"""

from alembic import op

from messaging.outbox.ddl import bound_texts

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_RESUMING = {"unknown_leg": 64, "reason": 64}
_COLUMNS: dict[str, dict[str, int]] = {
    "divisions": {"name_zh": 200, "name_en": 200},
    "billers": {
        "id": 40,
        "name_zh": 200,
        "name_en": 200,
        "account_number_pattern": 200,
        "account_number_hint_zh": 200,
        "account_number_hint_en": 200,
    },
    "services": {"id": 40, "biller_id": 40, "name_zh": 200, "name_en": 200},
    "coverage": {"service_id": 40},
    "channels": {"id": 40, "name": 200},
    "api_keys": {"channel_id": 40, "prefix": 16},
    "idempotency_keys": {"channel_id": 40, "key": 255},
    "ledger_accounts": {"address": 128},
    "accounts": {"biller_id": 40, "account_number": 64},
    "bills": {"bill_number": 64, "period": 64},
    "lookups": {"channel_id": 40, "reason": 64},
    "payments": {
        "channel_id": 40,
        "payer": 64,
        "biller_id": 40,
        "payment_method": 64,
        "psp_intent_id": 255,
        **_RESUMING,
    },
    "refunds": {"psp_refund_id": 255, **_RESUMING},
    "top_ups": {
        "channel_id": 40,
        "payer": 64,
        "payment_method": 64,
        "psp_intent_id": 255,
        **_RESUMING,
    },
    "payment_requests": {"channel_id": 40, "payer": 64},
    "outside_calls": {"outcome": 64},
    "cases": {"kind": 64},
    "psp_webhooks": {"event_id": 255},
    "receipts": {"biller_id": 40, "bill_number": 64, "period": 64},
    "statements": {"source_id": 40},
    "statement_lines": {"reference": 255},
    "matches": {"source": 16},
    "breaks": {"source": 16, "source_id": 40, "kind": 16, "reference": 255},
}
# Words that nobody depends on.
_CUT = {
    "channels": {"name": 200},
    "outside_calls": {"detail": 500},
    "cases": {"note": 1000},
    "psp_webhooks": {"type": 255, "object_id": 255},
}
# A part of one would name something else.
_DROPPED = {
    "payments": {"correlation_id": 128, "action_url": 2048},
    "refunds": {"correlation_id": 128},
    "top_ups": {"correlation_id": 128, "action_url": 2048},
    "lookups": {"correlation_id": 128},
}


def upgrade() -> None:
    for table, columns in _COLUMNS.items():
        kept = {name: (length, name) for name, length in columns.items()}
        cut = {
            name: (length, f"left({name}, {length})")
            for name, length in _CUT.get(table, {}).items()
        }
        dropped = {
            name: (length, f"CASE WHEN length({name}) <= {length} THEN {name} END")
            for name, length in _DROPPED.get(table, {}).items()
        }
        changes = ", ".join(
            f"ALTER COLUMN {name} TYPE varchar({length}) USING {value}"
            for name, (length, value) in (kept | cut | dropped).items()
        )
        op.execute(f"ALTER TABLE {table} {changes}")
    bound_texts(op)


def downgrade() -> None:
    for table, columns in _COLUMNS.items():
        names = [*columns, *_CUT.get(table, {}), *_DROPPED.get(table, {})]
        changes = ", ".join(f"ALTER COLUMN {name} TYPE text" for name in dict.fromkeys(names))
        op.execute(f"ALTER TABLE {table} {changes}")
