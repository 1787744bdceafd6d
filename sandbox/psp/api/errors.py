"""Stripe's errors: one shape, with a message that a developer can act on (docs.stripe.com/api/errors)."""

from typing import Any


class ApiError(Exception):
    """Answered to the caller. `executed` says that it happened while the request ran, after its parameters were
    found good: only then is the answer kept under the idempotency key."""

    def __init__(
        self,
        status: int,
        type: str,
        message: str,
        *,
        executed: bool = False,
        **fields: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.executed = executed
        named = {name: value for name, value in fields.items() if value is not None}
        self.body: dict[str, Any] = {"error": {"type": type, "message": message, **named}}


def invalid(message: str, *, code: str | None = None, param: str | None = None) -> ApiError:
    """A request that was never run."""
    return ApiError(400, "invalid_request_error", message, code=code, param=param)


def unknown_parameter(param: str) -> ApiError:
    """A parameter that this endpoint does not know."""
    return invalid(f"Received unknown parameter: {param}", code="parameter_unknown", param=param)


def missing(kind: str, id: str, param: str = "id") -> ApiError:
    """No such object. A payment method that does not exist is a 400 at Stripe, everything else a 404."""
    status = 400 if kind == "PaymentMethod" else 404
    message = f"No such {kind}: '{id}'"
    return ApiError(status, "invalid_request_error", message, code="resource_missing", param=param)


def refused(message: str, code: str, intent: dict[str, Any] | None = None) -> ApiError:
    """Run and refused: the state or the amount is in the way."""
    return ApiError(
        400, "invalid_request_error", message, executed=True, code=code, payment_intent=intent
    )


def declined(
    message: str, code: str, decline_code: str | None, intent: dict[str, Any] | None = None
) -> ApiError:
    """The payer's money was refused."""
    return ApiError(
        402,
        "card_error",
        message,
        executed=True,
        code=code,
        decline_code=decline_code,
        payment_intent=intent,
    )


def broken() -> ApiError:
    """The PSP's own trouble; what happened is for the caller to find out."""
    message = "Sorry, there was an error at our side. It may have had its effect or not."
    return ApiError(500, "api_error", message, executed=True)


def rate_limited() -> ApiError:
    """Too many requests; nothing was run."""
    message = "Too many requests hit the API too quickly. Wait and send this one again."
    return ApiError(429, "invalid_request_error", message, code="rate_limit")


def key_in_use(key: str) -> ApiError:
    """The same key is being worked on."""
    message = (
        f"There is currently another in-progress request using this Idempotency Key ('{key}')."
        " Send this one again in a moment."
    )
    return ApiError(409, "idempotency_error", message, code="idempotency_key_in_use")


def key_reused(key: str, path: str | None) -> ApiError:
    """The same key with something else in it. `path` is where it was used first, when that is the difference."""
    first = (
        f"endpoint they were first used for ('{path}')"
        if path
        else "parameters they were first used with"
    )
    message = (
        f"Keys for idempotent requests can only be used with the same {first}. Try using a key"
        f" other than '{key}' if you meant to execute a different request."
    )
    return ApiError(400, "idempotency_error", message)


def unauthorized(given: str) -> ApiError:
    """No API key, or another's."""
    if not given:
        message = "You did not provide an API key. Send it as 'Authorization: Bearer YOUR_KEY'."
    else:
        message = f"Invalid API Key provided: {given[:8]}{'*' * max(0, min(len(given) - 8, 16))}"
    return ApiError(401, "invalid_request_error", message)
