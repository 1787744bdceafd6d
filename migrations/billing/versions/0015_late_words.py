"""What the PSP tells of things that have ended: movements for it, legs for asking about it, attempts of a refund.

A statement's line of a failed refund names the transfer that books the failure, no longer the refund's; a line of what
we gave back ourselves names one, too. What was given back before is not booked by this.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_KINDS = "'top_up', 'pay_bill', 'refund', 'reversal', 'psp_fee', 'psp_settlement', 'remittance', 'adjustment'"
_LATE_KINDS = (
    "'late_capture', 'late_return', 'refund_returned', 'refund_to_wallet', 'returned_to_wallet'"
)
_LEGS = "'authorize', 'apply', 'capture', 'void', 'unapply', 'refund', 'charge'"
_LATE_LEGS = "'look', 'find', 'query'"

_CHECKS = """
ALTER TABLE transfers DROP CONSTRAINT ck_transfers_kind_is_declared,
    ADD CONSTRAINT ck_transfers_kind_is_declared CHECK (kind IN ({kinds})){valid};
ALTER TABLE outside_calls DROP CONSTRAINT ck_outside_calls_leg_is_declared,
    ADD CONSTRAINT ck_outside_calls_leg_is_declared CHECK (leg IN ({legs})){valid}
"""
_ATTEMPTS = """
ALTER TABLE refunds ADD COLUMN attempt integer NOT NULL DEFAULT 1;
GRANT UPDATE (attempt) ON refunds TO billing_app
"""


def _derived(text: str) -> str:
    # events.ids.derived_id: bytes 6 and 8 carry version 8 and the variant.
    digest = f"substring(sha256(convert_to({text}, 'UTF8')) FROM 1 FOR 16)"
    with_version = f"set_byte({digest}, 6, get_byte({digest}, 6) & 15 | 128)"
    return f"encode(set_byte({with_version}, 8, get_byte({digest}, 8) & 63 | 128), 'hex')::uuid"


_LINES = f"""
UPDATE statement_lines l SET our_id = {_derived("'refund_returned:refund:' || r.id::text")}
FROM refunds r WHERE l.kind = 'refund_failure' AND l.our_id = r.transfer_id;
UPDATE statement_lines l SET our_id = CASE l.kind WHEN 'refund' THEN {_derived("'late_return:payment:' || p.id::text")}
    ELSE {_derived("'refund_returned:payment:' || p.id::text")} END
FROM payments p WHERE l.kind IN ('refund', 'refund_failure') AND l.our_id IS NULL
    AND CASE WHEN l.reference ~ '^[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$' THEN l.reference::uuid END = p.id
"""  # noqa: S608 - our own text
_LINES_BACK = f"""
UPDATE statement_lines l SET our_id = r.transfer_id
FROM refunds r WHERE l.kind = 'refund_failure' AND l.our_id = {_derived("'refund_returned:refund:' || r.id::text")};
DELETE FROM errands WHERE kind IN ('late_payment', 'late_top_up', 'late_refund');
INSERT INTO errands (kind, subject, institution, leg, contested, sent_at)
SELECT 'refund', r.id, 'psp', 'refund', true, now() FROM refunds r
WHERE r.state = 'unapplied' AND NOT EXISTS (SELECT FROM errands e WHERE e.kind = 'refund' AND e.subject = r.id);
ALTER TABLE refunds DROP COLUMN attempt
"""  # noqa: S608 - our own text


def upgrade() -> None:
    _run(_CHECKS.format(kinds=f"{_KINDS}, {_LATE_KINDS}", legs=f"{_LEGS}, {_LATE_LEGS}", valid=""))
    _run(_ATTEMPTS)
    _run(_LINES)


def downgrade() -> None:
    # What was booked and asked meanwhile stays.
    _run(_CHECKS.format(kinds=_KINDS, legs=_LEGS, valid=" NOT VALID"))
    _run(_LINES_BACK)


def _run(statements: str) -> None:
    for statement in statements.split(";\n"):
        op.execute(statement)
