"""The trust in commands: the secret from which all signing keys are derived, and trusted topics, if any.

Both come from the settings. A process that could neither sign nor verify does not start.
"""

from dataclasses import dataclass, field

from events.topics import COMMAND_TOPICS
from services.billing.settings import Settings

SHORTEST_SECRET = 32
_NAMES = [topic.name for topic in COMMAND_TOPICS]


class TrustError(Exception):
    """The settings do not allow the process to start; the text is one line that says what to set."""


@dataclass(frozen=True, slots=True)
class Trust:
    """`secret` is None only when every command topic is in `topics`, whose signatures are not checked."""

    secret: bytes | None = field(repr=False)
    topics: frozenset[str] = frozenset()


def read_trust(settings: Settings) -> Trust:
    """Return the trust that the settings declare. Raises TrustError."""
    named = (each.strip() for each in settings.trusted_command_topics.split(","))
    topics = frozenset(each for each in named if each)
    if unknown := sorted(topics.difference(_NAMES)):
        raise TrustError(
            f"METERHALL_TRUSTED_COMMAND_TOPICS names {', '.join(unknown)}: the command topics are {', '.join(_NAMES)}."
        )
    if settings.command_secret is None and topics.issuperset(_NAMES):
        return Trust(None, topics)
    return Trust(read_secret(settings), topics)


def read_secret(settings: Settings) -> bytes:
    """Return the secret from which signing keys are derived. Raises TrustError when it is missing or too short."""
    secret = settings.command_secret.get_secret_value() if settings.command_secret else ""
    if len(secret) < SHORTEST_SECRET:
        raise TrustError(
            f"Set METERHALL_COMMAND_SECRET to {SHORTEST_SECRET} random characters or more, the same for web, worker and"
            " the command line: signing keys are derived from it (docs/operating.md, Who may command)."
        )
    return secret.encode()
