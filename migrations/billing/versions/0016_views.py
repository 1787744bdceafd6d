"""Views: what the owner of tables lets others read of them in SQL text, each declared in its tables.py."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_VIEWS = {
    "biller_terms": "SELECT id, name_zh, name_en, currency, settled_by, active FROM billers",
    "open_channels": "SELECT id FROM channels WHERE active",
    "account_endings": """
        SELECT id, right(account_number, least(4, length(account_number) / 2)) AS ending FROM accounts
    """,
    "bill_numbers": "SELECT id, bill_number FROM bills",
    "live_bills": """
        SELECT bill_id, state IN ('succeeded', 'partially_refunded') AS paid FROM payments
        WHERE state IN ('accepted', 'authorized', 'applied', 'succeeded', 'partially_refunded')
    """,
    "finished_payments": """
        SELECT id, channel_id, bill_id, finished_at, refunded_minor FROM payments WHERE finished_at IS NOT NULL
    """,
    "refund_transfers": "SELECT id AS refund_id, transfer_id FROM refunds",
    "top_up_transfers": "SELECT id AS top_up_id, transfer_id FROM top_ups",
    "booked_transfers": """
        SELECT id, kind, debit_account, credit_account, amount_minor, currency, corrects, occurred_at FROM transfers
    """,
    "biller_accounts": """
        SELECT id, split_part(address, ':', 2) AS biller_id FROM ledger_accounts WHERE address LIKE 'biller:%'
    """,
}


def upgrade() -> None:
    for name, query in _VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")
    # No more than that: views as plain as these could be written through.
    op.execute(f"GRANT SELECT ON {', '.join(_VIEWS)} TO billing_app")


def downgrade() -> None:
    op.execute(f"DROP VIEW {', '.join(_VIEWS)}")
