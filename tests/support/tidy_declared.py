"""Exceptions to the rules of the house that are meant to be, by name and with the reason."""

# Names that only tests use, by path and name.
ONLY_TESTS_USE = {
    (
        "services/billing/audit/audit.py",
        "audit",
    ): "an audit of rows that a test's transaction has planted",
    ("services/billing/payments/tables.py", "TRANSITIONS"): (
        "the trigger of the migration repeats it, and a test compares the two"
    ),
}
# Kinds of transfers that the ledger's CHECK and the contract know, and that no use case books yet.
RESERVED = {
    (
        "services/billing/ledger/movements.py",
        "adjustment",
    ): "a correction that two people have approved",
    ("services/billing/ledger/movements.py", "remittance"): "the lump that a biller is paid",
}
# The file words of the house: a file of this name has the same job in each room.
FILE_WORDS = {
    "__init__": "a package, and the names that it exports",
    "__main__": "a program that is run with python -m",
    "accept": "checks commands and stores what they ask for",
    "app": "builds a stand-in's web application",
    "consumer": "Kafka in",
    "control": "a stand-in's endpoints for faults on request",
    "database": "connects to the database with a service's schema",
    "ddl": "tables that each service has in its own schema",
    "ended": "rows that have reached their last state",
    "events": "builds the events of a state change",
    "find": "search",
    "expire": "ends what waited too long and was never sent",
    "handlers": "the table of who handles which command or event",
    "import_file": "loads a file into the tables",
    "legs": "the calls to institutions, in their order",
    "metrics": "gauges and counters",
    "model": "the types of a room",
    "read": "reads rows of the room's tables",
    "read_file": "parses a file before it is imported",
    "record": "writes the outcomes of calls in one transaction",
    "relay": "the process that publishes the outbox",
    "routes": "HTTP in",
    "settings": "a service's settings from the environment",
    "tables": "tables and their states",
    "web": "the process that serves HTTP, and the application that it serves",
    "worker": "the process that consumes from Kafka",
    "cli": "a package's commands for the common command line",
}
# Other names that two modules share, with the reason.
SAME_FILE_NAME = {
    "authenticate": "API keys of wallet apps, and the links of payers: each by its room's credentials",
    "book": "errands.book(...) books calls; reconciliation reads the book of one day",
    "follow": "a lookup's or a delivery's state, as a wallet app is shown it",
    "institutions": "what bounds an institution's calls, and how billing names its institutions",
    "listing": "errands for operators, and the PSP's lists of charges",
    "outcomes": "of a call to the PSP, and of a delivery",
    "post": "ledger.post(...) books transfers; webhooks.post(...) is an HTTP POST",
}
# Files there are named after the room whose use cases they offer, or after the measured line.
NAMED_AFTER_ROOMS = {"services/billing/cli", "services/billing/door", "benchmarks/lines"}

# Folders below tests/ whose own files are about one topic.
TOPIC_FOLDERS = {
    "": "the repository itself",
    "end_to_end": "whole cities, from outside",
}
# Test files that mirror no module, by the topic that takes them across several.
TESTS_BY_TOPIC = {
    "whole processes of one service": {
        "services/billing/test_frozen_processes.py",
        "services/notifications/test_frozen_worker.py",
        "services/notifications/test_processes.py",
    },
    "rows of a former version, migrated": {
        "services/billing/upgrades/test_upgrade.py",
        "services/billing/upgrades/test_upgrade_errands.py",
    },
    "one contract for several implementations": {
        "services/billing/bills/connectors/test_dialects.py",
        "services/billing/psp/test_contract.py",
        "services/billing/psp/test_contract_refunds.py",
        "services/billing/psp/test_stripe_mock.py",
    },
    "all tables, views, bounds or routes of a service": {
        "services/billing/test_bounds.py",
        "services/billing/test_views.py",
        "services/notifications/test_bounds.py",
        "services/notifications/test_tables.py",
    },
    "a command line, as an operator types it": {
        "services/billing/catalog/test_cli.py",
        "services/billing/reconciliation/test_command_line.py",
    },
    "an institution that fails, lies, hangs or answers late": {
        "messaging/relay/test_outages.py",
        "messaging/relay/test_relay_halts.py",
        "sandbox/billers/test_late_biller.py",
        "sandbox/psp/test_late_psp.py",
        "sandbox/psp/test_restart.py",
        "services/billing/bills/connectors/test_faults.py",
        "services/billing/bills/connectors/test_hostile.py",
        "services/billing/bills/test_busy_lookups.py",
        "services/billing/late/test_late_money.py",
        "services/billing/outside/test_hostile_psp.py",
        "services/billing/outside/test_late_effect.py",
        "services/billing/outside/test_unrecorded.py",
        "services/billing/payments/test_busy.py",
        "services/billing/psp/test_answer_lists.py",
        "services/billing/psp/test_answers.py",
        "services/billing/psp/test_faults.py",
        "services/notifications/deliveries/test_poison.py",
    },
    "a use case that crosses the modules of its room": {
        "errands/test_line.py",
        "messaging/control/test_topics.py",
        "sandbox/psp/test_idempotency.py",
        "services/billing/door/test_dead_promises.py",
        "services/billing/door/test_promised_refunds.py",
        "services/billing/ledger/test_broken_seals.py",
        "services/billing/outside/test_identity.py",
        "services/billing/payments/test_action.py",
        "services/billing/payments/test_decide.py",
        "services/billing/payments/test_history.py",
        "services/billing/payments/test_resume.py",
        "services/billing/psp/test_book.py",
        "services/billing/reconciliation/test_a_day.py",
        "services/billing/reconciliation/test_bulk.py",
        "services/billing/reconciliation/test_kinds.py",
        "services/billing/reconciliation/test_late.py",
        "services/billing/reconciliation/test_sandbox.py",
    },
}
# Modules and packages with a test file of their own. It only goes up.
MIRRORED_MODULES = 114

# Phrases of a private dialect, with the number of times they still occur in docstrings and comments.
DIALECT = {"whoever": 0, "what is there": 0, "what was said": 0, "nobody outside": 0}
