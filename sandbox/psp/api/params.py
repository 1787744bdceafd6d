"""Form-encoded, nested parameters as Stripe takes them, and the rules that an endpoint has for its own."""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from sandbox.psp.api.errors import invalid, unknown_parameter

Params = dict[str, Any]
Rule = Callable[[str, Any], Any]
_PART = re.compile(r"\[([^\[\]]*)\]")
# Stripe's largest amount: eight digits.
LARGEST_AMOUNT = 99_999_999
# Enough of ISO 4217 to tell a typing error from a currency.
# fmt: off
CURRENCIES = frozenset((
    "aed", "aud", "brl", "cad", "chf", "cny", "dkk", "eur", "gbp", "hkd", "idr", "inr", "jpy", "krw",
    "mop", "mxn", "myr", "nok", "nzd", "php", "sek", "sgd", "thb", "try", "twd", "usd", "vnd", "zar",
))
# fmt: on


def parse(encoded: bytes) -> Params:
    """`a[b]=1&c[]=2` as {"a": {"b": "1"}, "c": ["2"]}. Raises ApiError for what is not a form."""
    try:
        pairs = parse_qsl(encoded.decode(), keep_blank_values=True, errors="strict")
    except ValueError as error:
        raise invalid("The request body is not a form in UTF-8.") from error
    parsed: Params = {}
    for name, value in pairs:
        if "[" in name:
            _put_nested(parsed, name, value)
        else:
            parsed[name] = value
    return parsed


def _put_nested(parsed: Params, name: str, value: str) -> None:
    head, _, tail = name.partition("[")
    path = [head, *_PART.findall("[" + tail)]
    here: Any = parsed
    for at, part in enumerate(path[:-1]):
        fresh: Any = [] if path[at + 1] in {"", "0"} else {}
        here = here.setdefault(part, fresh) if isinstance(here, dict) else None
        if here is None or type(here) is not type(fresh):
            raise invalid(f"Invalid nesting: {name}", param=head)
    if isinstance(here, list):
        here.append(value)
    else:
        here[path[-1]] = value


def check(params: Params, rules: Mapping[str, Rule], required: tuple[str, ...] = ()) -> Params:
    """The parameters with their types, or ApiError naming the one that is wrong."""
    for name in params:
        if name not in rules:
            raise unknown_parameter(name)
    for name in required:
        if params.get(name) in {None, ""}:
            raise invalid(f"Missing required param: {name}.", code="parameter_missing", param=name)
    return {name: rules[name](name, value) for name, value in params.items()}


def integer(least: int, most: int) -> Rule:
    """A whole number within bounds."""

    def rule(name: str, value: Any) -> int:
        if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]{1,18}", value):
            raise invalid(f"Invalid integer: {value}", code="parameter_invalid_integer", param=name)
        number = int(value)
        if number < least:
            raise invalid(
                f"This value must be greater than or equal to {least}.",
                code="parameter_invalid_integer",
                param=name,
            )
        if number > most:
            code = "amount_too_large" if name == "amount" else "parameter_invalid_integer"
            raise invalid(f"{name} must be no more than {most}", code=code, param=name)
        return number

    return rule


def text(longest: int = 5_000) -> Rule:
    """A string."""

    def rule(name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise invalid(f"Invalid string: {value}", param=name)
        if len(value) > longest:
            raise invalid(f"Invalid {name}: at most {longest} characters", param=name)
        return value

    return rule


def one_of(*allowed: str) -> Rule:
    """One of a few words."""

    def rule(name: str, value: Any) -> str:
        if value not in allowed:
            raise invalid(f"Invalid {name}: must be one of {', '.join(allowed)}", param=name)
        return str(value)

    return rule


def flag(name: str, value: Any) -> bool:
    """true or false."""
    if value not in {"true", "false"}:
        raise invalid(f"Invalid boolean: {value}", param=name)
    return bool(value == "true")


def currency(name: str, value: Any) -> str:
    """A currency that the account can take."""
    if not isinstance(value, str) or value.lower() not in CURRENCIES:
        raise invalid(f"Invalid currency: {value}", code="parameter_invalid_string", param=name)
    return value.lower()


def metadata(name: str, value: Any) -> dict[str, str]:
    """Up to 50 names of 40 characters with values of 500."""
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise invalid("Metadata must be a set of key-value pairs.", param=name)
    if len(value) > 50:
        raise invalid("Metadata can have at most 50 keys.", param=name)
    for key, content in value.items():
        if not key or len(key) > 40 or len(content) > 500:
            raise invalid(
                "Metadata keys have up to 40 characters and values up to 500.",
                param=f"{name}[{key[:40]}]",
            )
    return value


def texts(name: str, value: Any) -> list[str]:
    """A list of strings."""
    if not isinstance(value, list):
        raise invalid(f"Invalid array: {name}", param=name)
    return value


def mapping(**rules: Rule) -> Rule:
    """Nested parameters with rules of their own."""

    def rule(name: str, value: Any) -> Params:
        if not isinstance(value, dict):
            raise invalid(f"Invalid object: {name}", param=name)
        return check(value, rules)

    return rule


AMOUNT = integer(1, LARGEST_AMOUNT)
PAGE: dict[str, Rule] = {
    "limit": integer(1, 100),
    "starting_after": text(255),
    "expand": texts,
}
SINCE_1970 = integer(0, 10**11)


def created(name: str, value: Any) -> Params:
    """An exact time or bounds: created=…, created[gte]=…"""
    if isinstance(value, str):
        return {"gte": SINCE_1970(name, value), "lte": SINCE_1970(name, value)}
    return dict(mapping(gt=SINCE_1970, gte=SINCE_1970, lt=SINCE_1970, lte=SINCE_1970)(name, value))
