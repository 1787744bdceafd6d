"""Settings for the commands of every service, or one line that says which are missing."""

from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from chassis.output import fail

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def read_settings(kind: type[SettingsT]) -> SettingsT:
    """Return the settings from the environment. Ends the command with a message when some are missing or wrong."""
    try:
        return kind()
    except ValidationError as error:
        wrong = ", ".join(f"METERHALL_{each['loc'][0]}".upper() for each in error.errors())
        fail(f'Set {wrong}. For the sandbox\'s city: eval "$(meterhall env)" while `make up` runs.')
