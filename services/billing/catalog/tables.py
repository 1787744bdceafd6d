"""The catalogue: divisions, billers, services, and coverage (which service is offered in which division)."""

from sqlalchemy import (
    CHAR,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

from chassis.database import View, one_of
from events import bounds
from services.billing.database import metadata

# The longest names, hints and patterns of a catalogue file, in characters (read_file.py).
LONGEST_NAME = 200
CATEGORIES = ("electricity", "water", "gas", "heating", "other")

divisions = Table(
    "divisions",
    metadata,
    Column("code", CHAR(6), primary_key=True),  # GB/T 2260
    Column("name_zh", String(LONGEST_NAME), nullable=False),
    Column("name_en", String(LONGEST_NAME), nullable=False),
    Column("level", SmallInteger, nullable=False),  # 1 province, 2 prefecture
    Column("parent", CHAR(6), ForeignKey("divisions.code")),
    CheckConstraint("(level = 1) = (parent IS NULL) AND level IN (1, 2)", name="level_and_parent"),
)

billers = Table(
    "billers",
    metadata,
    Column("id", String(bounds.BILLER_ID), primary_key=True),
    Column("name_zh", String(LONGEST_NAME), nullable=False),
    Column("name_en", String(LONGEST_NAME), nullable=False),
    Column("currency", CHAR(3), nullable=False),
    Column("settled_by", Text, nullable=False),  # call: applied one by one; file: in our day file
    Column("connector", JSONB, nullable=False),  # {"dialect": …, "url": …}
    Column("account_number_pattern", String(LONGEST_NAME), nullable=False),
    Column("account_number_hint_zh", String(LONGEST_NAME), nullable=False),
    Column("account_number_hint_en", String(LONGEST_NAME), nullable=False),
    Column("timeout_ms", Integer, nullable=False, server_default="5000"),
    # The time after a call without an answer in which its effect may still come.
    Column("late_effect_seconds", Integer, nullable=False, server_default="120"),
    Column("max_concurrency", Integer, nullable=False, server_default="32"),
    Column("active", Boolean, nullable=False, server_default="true"),
    CheckConstraint("id ~ '^[a-z0-9][a-z0-9-]{0,39}$'", name="id_is_a_slug"),
    CheckConstraint("settled_by IN ('call', 'file')", name="settled_by_is_declared"),
    CheckConstraint("timeout_ms BETWEEN 100 AND 60000", name="timeout_is_sane"),
    CheckConstraint("late_effect_seconds BETWEEN 0 AND 86400", name="late_effect_is_sane"),
    CheckConstraint("max_concurrency BETWEEN 1 AND 1000", name="concurrency_is_sane"),
)

services = Table(
    "services",
    metadata,
    Column("id", String(bounds.BILLER_ID), primary_key=True),
    Column("biller_id", ForeignKey("billers.id"), nullable=False, index=True),
    Column("category", Text, nullable=False),
    Column("name_zh", String(LONGEST_NAME), nullable=False),
    Column("name_en", String(LONGEST_NAME), nullable=False),
    CheckConstraint(one_of("category", CATEGORIES), name="category_is_declared"),
)

coverage = Table(
    "coverage",
    metadata,
    Column("service_id", ForeignKey("services.id"), primary_key=True),
    Column("division_code", ForeignKey("divisions.code"), primary_key=True, index=True),
)

# For bills and receipts: a biller's names and terms of payment.
BILLER_TERMS = View(
    "biller_terms", "SELECT id, name_zh, name_en, currency, settled_by, active FROM billers"
)
