"""The metrics of the sender. No ids as labels, because their number has no bound."""

from prometheus_client import Counter, Gauge, Histogram

ATTEMPTS = Counter(
    "notification_attempts_total",
    "Attempts to deliver, by outcome.",
    ["medium", "outcome"],
)
ATTEMPT_SECONDS = Histogram(
    "notification_attempt_seconds",
    "Time of one attempt.",
    ["medium"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
LEASES_LOST = Counter(
    "notification_leases_lost_total",
    "Attempts that ended after their lease; each may be a duplicate.",
)
BURIED = Counter(
    "notification_buried_total",
    "Deliveries that could not be claimed or recorded, by how they ended: published, unpublished (without an event)"
    " or stuck (pending, and left alone by this process).",
    ["medium", "end"],
)
DUE = Gauge(
    "notification_due_rows", "Deliveries that are due now, counted up to 100,000.", ["medium"]
)
FAILED = Gauge("notification_failed_rows", "Deliveries that failed for good and are still kept.")
