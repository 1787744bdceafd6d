"""What commands of every service need: their settings, or one line that says what is missing."""

from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from chassis.output import fail

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def read_settings(kind: type[SettingsT]) -> SettingsT:
    """The settings from the environment; ends the command when some are missing or wrong."""
    try:
        return kind()
    except ValidationError as error:
        wrong = ", ".join(f"METERHALL_{each['loc'][0]}".upper() for each in error.errors())
        fail(f'Set {wrong}. For the sandbox\'s city: eval "$(meterhall env)" while `make up` runs.')
