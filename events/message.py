"""What every command and event is: an immutable model that knows its topic and its key."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from events.topics import Topic

EVENT_TYPES: dict[str, type["Event"]] = {}


class Event(BaseModel):
    """A command or an event. Subclasses name their topic and are known by their class name and major version.

    Unknown fields are ignored, so that a reader of today understands what a writer of tomorrow adds.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    topic: ClassVar[Topic]
    key_field: ClassVar[str]
    major: ClassVar[int] = 1

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if hasattr(cls, "topic"):
            EVENT_TYPES[cls.ce_type()] = cls

    @classmethod
    def ce_type(cls) -> str:
        """The CloudEvents type, for example `meterhall.PaymentSucceeded.v1`."""
        return f"meterhall.{cls.__name__}.v{cls.major}"

    @property
    def key(self) -> str:
        """The Kafka key: the id of the aggregate, whose row lock orders its events."""
        return str(getattr(self, self.key_field))
