"""The metrics of consumers. No ids as labels, because their number has no bound."""

from prometheus_client import Counter, Histogram

RECORDS = Counter(
    "consumer_records_total",
    "Records finished: handled, or dead (written as dead letters).",
    ["topic", "group", "result"],
)
BATCH_SECONDS = Histogram(
    "consumer_batch_seconds",
    "Time from a batch's arrival until its work was committed, retries included.",
    ["topic", "group"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
FAILURES = Counter(
    "consumer_failures_total",
    "Errors while a batch was fetched, handled or committed, transient ones included.",
    ["topic", "group", "error"],
)
DROPPED_HEADERS = Counter(
    "consumer_dropped_headers_total",
    "Optional headers dropped because they were too long or unreadable.",
    ["topic", "header"],
)
DEAD_LETTERS = Counter("dead_letters_total", "Dead letters written.", ["topic", "group", "reason"])
COMMIT_FAILURES = Counter(
    "consumer_offset_commit_failures_total",
    "Offset commits that Kafka refused; the batch is delivered again.",
    ["topic", "group"],
)
REBALANCES = Counter(
    "consumer_rebalances_total", "Times that partitions were revoked.", ["topic", "group"]
)
