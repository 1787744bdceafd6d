"""Verify the PSP's webhooks: signature and time. A webhook is only a hint: `retrieve` returns the state.

Source of the scheme: Stripe-Signature, `t=<unix>,v1=<hex>[,v1=…]`, HMAC-SHA256 of `t.body` (docs.stripe.com/webhooks).
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from services.billing.psp.wire import FAILED_REFUND, ID, WITH_MONEY

# At most two secrets are valid while one is rotated, so a header with hundreds of signatures is an attack.
MOST_SIGNATURES = 8
LONGEST_HEADER = 2_048


class BadSignature(Exception):  # noqa: N818 - it names what is wrong with the request, as the routes tell it
    """The webhook is not authentic; the text says why and has no secret."""


def verify_webhook(
    payload: bytes, header: str, secret: str, now: float, tolerance_seconds: float = 300
) -> dict[str, Any]:
    """Return the event in `payload`, the unchanged body; `now` is Unix time. Raises BadSignature."""
    sent_at, signatures = _read(header)
    signed = sent_at.encode() + b"." + payload
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode()
    # Every signature is compared, in constant time, so that the duration reveals nothing.
    matches = [hmac.compare_digest(expected, offered.encode()) for offered in signatures]
    if not secret or not any(matches):
        raise BadSignature(
            "no signature matches: another secret, or the body was changed on its way"
        )
    # The time is checked after the signature, so that a forger learns nothing from it.
    age_seconds = now - int(sent_at)
    if age_seconds > tolerance_seconds:
        raise BadSignature(f"too old: signed {age_seconds:.0f} s ago")
    if age_seconds < -tolerance_seconds:
        raise BadSignature(f"from the future: signed {-age_seconds:.0f} s ahead of our clock")
    return _event(payload)


def _read(header: str) -> tuple[str, list[str]]:
    if len(header) > LONGEST_HEADER:
        raise BadSignature(f"the signature header is longer than {LONGEST_HEADER} characters")
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    # Other schemes (v0) are test signatures and are ignored, or an attacker could choose the weaker one.
    signatures = [value for name, _, value in pairs if name == "v1"]
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) <= 12):
        raise BadSignature("the signature header needs one time, t=<seconds since 1970>")
    if not signatures:
        raise BadSignature("the signature header has no v1 signature")
    if len(signatures) > MOST_SIGNATURES:
        raise BadSignature(f"the signature header has more than {MOST_SIGNATURES} signatures")
    return times[0], signatures


def _event(payload: bytes) -> dict[str, Any]:
    try:
        event = json.loads(payload)
    except ValueError as error:
        raise BadSignature("the body is not JSON") from error
    id = event.get("id") if isinstance(event, dict) else None
    if not isinstance(event, dict) or not isinstance(id, str) or not ID.fullmatch(id):
        raise BadSignature("the body is not an event with an id")
    return event


def intent_with_money(thing: Mapping[str, Any]) -> str | None:
    """Return the id of an event's object if it is an intent under which money is held or taken, else None."""
    id = thing.get("id")
    if thing.get("object") != "payment_intent" or thing.get("status") not in WITH_MONEY:
        return None
    return id if isinstance(id, str) and ID.fullmatch(id) else None


def is_failed_refund(thing: Mapping[str, Any]) -> bool:
    """Return True when an event's object is a failed refund. The event's type is no help: there are three."""
    return thing.get("object") == "refund" and thing.get("status") in FAILED_REFUND
