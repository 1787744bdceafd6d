"""The metrics of the relay."""

from prometheus_client import Counter, Gauge, Histogram

OLDEST_UNPUBLISHED = Gauge(
    "outbox_oldest_unpublished_timestamp_seconds",
    "When the oldest unpublished message was written; now, when there is none. Alarm on time() minus this.",
)
PENDING_ROWS = Gauge(
    "outbox_pending_rows", "Messages written and not yet published, counted up to 100,000."
)
PUBLISHED = Counter("outbox_publish_total", "Messages sent, by result.", ["result"])
WAVE_SECONDS = Histogram(
    "outbox_wave_seconds",
    "Time from sending a wave until Kafka had acknowledged all of it.",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
ACTIVE = Gauge("outbox_relay_active", "1 while this relay is the one that publishes.")
TAKEOVERS = Counter("outbox_relay_takeovers_total", "Times that this relay became the active one.")
RELAY_FAILURES = Counter(
    "outbox_relay_failures_total",
    "Times that the relay had to start over from its cursor.",
    ["error"],
)
