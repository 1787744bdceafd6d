"""The part of Stripe's API that the PSP speaks: each endpoint with the parameters that it takes."""

import re

from sandbox.psp.api.errors import invalid
from sandbox.psp.api.params import (
    AMOUNT,
    PAGE,
    Params,
    created,
    currency,
    flag,
    mapping,
    metadata,
    one_of,
    text,
    texts,
)
from sandbox.psp.api.psp_calls import ApiEndpoint
from sandbox.psp.money import balance, intents, psp_refunds
from sandbox.psp.provider import Provider
from sandbox.psp.psp_store import Object

_FIELD = re.compile(r"metadata\[(?:'([^']{1,40})'|\"([^\"]{1,40})\")\]:(?:'([^']*)'|\"([^\"]*)\")")
_WORD = text(255)


def _listed(provider: Provider, kind: str, params: Params, parent: str | None = None) -> Object:
    after = params.get("starting_after")
    if after is not None:
        provider.require(kind, after, "starting_after")
    things, more = provider.store.page(
        kind,
        limit=params.get("limit", 10),
        after=after,
        created=params.get("created", {}),
        parent=parent,
    )
    return {"object": "list", "data": things, "has_more": more, "url": f"/v1/{kind}s"}


def _search(provider: Provider, _: str, params: Params) -> Object:
    fields = [_FIELD.fullmatch(part.strip()) for part in params["query"].split(" AND ")]
    wanted: list[str] = []
    for each in fields:
        if each is None:
            message = (
                "The sandbox searches by metadata['name']:'value', several of them joined by AND."
            )
            raise invalid(message, param="query")
        wanted += [each[1] or each[2], each[3] or each[4] or ""]
    alike = " INTERSECT ".join(
        ["SELECT id FROM metadata WHERE name = ? AND value = ?"] * len(fields)
    )
    rows = provider.store.query(
        f"SELECT id FROM objects WHERE id IN ({alike}) AND created <= ? LIMIT ?",  # noqa: S608 - fixed words
        *(*wanted, provider.now() - provider.search_lag_seconds, params.get("limit", 10)),
    )
    found = [intents.load(provider, row[0]) for row in rows]
    return {
        "object": "search_result",
        "data": sorted(found, key=lambda one: -int(one["created"])),
        "has_more": False,
        "next_page": None,
        "url": "/v1/payment_intents/search",
    }


def _refunds(provider: Provider, _: str, params: Params) -> Object:
    return _listed(provider, "refund", params, params.get("payment_intent"))


def _balance_transactions(provider: Provider, _: str, params: Params) -> Object:
    return _listed(provider, "balance_transaction", params, params.get("payout"))


def _events(provider: Provider, _: str, params: Params) -> Object:
    return _listed(provider, "event", params, params.get("type"))


_METHOD_RULES = {
    "payment_method": _WORD,
    "return_url": text(2_048),
    "off_session": flag,
}
_LIST = {**PAGE, "created": created}

ENDPOINTS = [
    ApiEndpoint(
        "POST",
        "/v1/payment_intents",
        "authorize",
        lambda provider, _, params: intents.create(provider, params),
        {
            **_METHOD_RULES,
            "amount": AMOUNT,
            "currency": currency,
            "capture_method": one_of("automatic", "automatic_async", "manual"),
            "confirm": flag,
            "metadata": metadata,
            "description": text(1_000),
            "statement_descriptor": text(22),
            "payment_method_types": texts,
            "automatic_payment_methods": mapping(
                enabled=flag, allow_redirects=one_of("always", "never")
            ),
        },
        ("amount", "currency"),
    ),
    ApiEndpoint(
        "GET",
        "/v1/payment_intents/search",
        "find",
        _search,
        {**PAGE, "query": text(1_000)},
        ("query",),
    ),
    ApiEndpoint(
        "GET",
        "/v1/payment_intents/{id}",
        "retrieve",
        lambda provider, id, _: intents.load(provider, id),
    ),
    ApiEndpoint(
        "POST",
        "/v1/payment_intents/{id}/capture",
        "capture",
        intents.capture,
        {"amount_to_capture": AMOUNT},
    ),
    ApiEndpoint(
        "POST",
        "/v1/payment_intents/{id}/cancel",
        "void",
        intents.cancel,
        {
            "cancellation_reason": one_of(
                "duplicate", "fraudulent", "requested_by_customer", "abandoned"
            )
        },
    ),
    ApiEndpoint(
        "POST", "/v1/payment_intents/{id}/confirm", "confirm", intents.confirm, _METHOD_RULES
    ),
    ApiEndpoint(
        "GET",
        "/v1/payment_intents",
        "list",
        lambda provider, _, params: _listed(provider, "payment_intent", params),
        _LIST,
    ),
    ApiEndpoint(
        "POST",
        "/v1/refunds",
        "refund",
        lambda provider, _, params: psp_refunds.create(provider, params),
        {
            "payment_intent": _WORD,
            "charge": _WORD,
            "amount": AMOUNT,
            "reason": one_of("duplicate", "fraudulent", "requested_by_customer"),
            "metadata": metadata,
        },
    ),
    ApiEndpoint("GET", "/v1/refunds", "find_refund", _refunds, {**_LIST, "payment_intent": _WORD}),
    ApiEndpoint(
        "GET",
        "/v1/refunds/{id}",
        "other",
        lambda provider, id, _: provider.require("refund", id),
    ),
    ApiEndpoint(
        "GET",
        "/v1/charges/{id}",
        "other",
        lambda provider, id, _: provider.require("charge", id),
    ),
    ApiEndpoint(
        "GET",
        "/v1/balance_transactions",
        "balance_transactions",
        _balance_transactions,
        {**_LIST, "payout": _WORD},
    ),
    ApiEndpoint(
        "GET",
        "/v1/balance_transactions/{id}",
        "other",
        lambda provider, id, _: provider.require("balance_transaction", id),
    ),
    ApiEndpoint("GET", "/v1/balance", "other", lambda provider, _, __: balance.balance(provider)),
    ApiEndpoint(
        "POST",
        "/v1/payouts",
        "other",
        lambda provider, _, params: balance.create_payout(provider, params),
        {"amount": AMOUNT, "currency": currency, "metadata": metadata},
        ("amount", "currency"),
    ),
    ApiEndpoint(
        "GET",
        "/v1/payouts",
        "other",
        lambda provider, _, params: _listed(provider, "payout", params),
        _LIST,
    ),
    ApiEndpoint(
        "GET",
        "/v1/payouts/{id}",
        "other",
        lambda provider, id, _: provider.require("payout", id),
    ),
    ApiEndpoint("GET", "/v1/events", "other", _events, {**_LIST, "type": _WORD}),
    ApiEndpoint(
        "GET",
        "/v1/events/{id}",
        "other",
        lambda provider, id, _: provider.require("event", id),
    ),
]
