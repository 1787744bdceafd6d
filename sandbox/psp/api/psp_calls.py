"""One call of the API, from the bytes of the request to an answer that is on disk: who asks, with which key, and
which fault it has to suffer on the way."""

import asyncio
import base64
import binascii
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from sandbox.psp.api import errors
from sandbox.psp.api.idempotency_keys import IdempotencyKeys, PspAnswer
from sandbox.psp.api.params import Params, Rule, check, parse, texts
from sandbox.psp.provider import Provider
from sandbox.psp.psp_faults import PspFaults, refusal, spoiled
from sandbox.psp.psp_store import Object, encode
from sandbox.stand_in.connection import Cut, truncated
from sandbox.stand_in.fault_list import LATE, OperationFault
from sandbox.stand_in.late_effect import have_late_effect
from sandbox.stand_in.serve import LARGEST_BODY_BYTES


@dataclass(frozen=True, slots=True)
class ApiEndpoint:
    """One method and path of the API. `run` gets the id in the path (or "") and the checked parameters."""

    method: str
    path: str
    operation: str
    run: Callable[[Provider, str, Params], Object]
    rules: Mapping[str, Rule] = field(default_factory=dict)
    required: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Call:
    endpoint: ApiEndpoint
    operation: str
    path: str
    id: str
    params: Params
    key: str | None

    @property
    def target(self) -> str:
        # What names the payment at this moment: its id here, or before it has one the caller's own.
        named = self.id or self.params.get("payment_intent")
        metadata = self.params.get("metadata")
        own = metadata.get("charge_id") if isinstance(metadata, dict) else None
        return str(named or own or self.key or "")


class PspCalls:
    """Answers all calls of one PSP."""

    def __init__(self, provider: Provider, faults: PspFaults, api_key: str) -> None:
        self._provider = provider
        self._store = provider.store
        self._faults = faults
        self._keys = IdempotencyKeys(provider.store)
        self._api_key = api_key.encode()

    async def answer(self, endpoint: ApiEndpoint, request: Request) -> Response:
        """The response to one request; every error has Stripe's shape."""
        try:
            call = await self._read(endpoint, request)
            return await self._suffer(call)
        except errors.ApiError as error:
            await self._store.durable()
            return _response(PspAnswer(error.status, encode(error.body)), None)

    async def _read(self, endpoint: ApiEndpoint, request: Request) -> _Call:
        self._authorize(request.headers.get("authorization", ""))
        raw = request.scope["query_string"]
        if endpoint.method == "POST":
            raw = await request.body()
        if len(raw) > LARGEST_BODY_BYTES:
            raise errors.invalid(f"The request is longer than {LARGEST_BODY_BYTES} bytes.")
        params = parse(raw)
        operation = endpoint.operation
        if operation == "authorize" and params.get("capture_method", "automatic") != "manual":
            operation = "charge"
        return _Call(
            endpoint,
            operation,
            request.scope["path"],
            request.path_params.get("id", ""),
            params,
            request.headers.get("idempotency-key") if endpoint.method == "POST" else None,
        )

    def _authorize(self, header: str) -> None:
        scheme, _, given = header.partition(" ")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode().partition(":")[0]
            except (binascii.Error, UnicodeDecodeError):
                given = ""
        if not secrets.compare_digest(given.encode(), self._api_key):
            raise errors.unauthorized(given)

    async def _suffer(self, call: _Call) -> Response:
        self._keys.need_free(call.key)
        fault = self._faults.pick(call.operation, call.params, call.target)
        kind = fault.kind if fault else ""
        if kind == "rate_limit":
            raise errors.rate_limited()
        if fault and kind in {"timeout_before", "reset_before"}:
            await self._store.durable()
            return Cut(seconds=fault.seconds)
        if fault and kind == LATE:
            await self._store.durable()
            return self._late(call, fault.seconds)
        with self._keys.used(call.key):
            if fault and kind == "delay":
                await self._store.durable()
                await asyncio.sleep(fault.seconds)
            answer = self._once(call, kind)
            await self._store.durable()
        return _on_the_wire(answer, fault, call.key)

    def _late(self, call: _Call, seconds: float) -> Response:
        key = ExitStack()
        key.enter_context(self._keys.used(call.key))

        def effect() -> None:
            # Whatever is in its way by then, it meets as any other call would.
            with key:
                try:
                    answer = self._once(call, "")
                except errors.ApiError:
                    return
            if answer.status == 200 and not answer.replayed:
                self._faults.count(f"{call.operation}:{LATE}_done")

        return have_late_effect(self._store, seconds, effect)

    def _once(self, call: _Call, kind: str) -> PspAnswer:
        if call.endpoint.method == "GET":
            return self._execute(call, kind)
        kept = self._keys.kept(call.key, call.path, call.params)
        if kept is not None:
            return kept
        with self._store.undone_on_error():
            answer = self._execute(call, kind)
            self._keys.keep(call.key, call.path, call.params, answer)
        return answer

    def _execute(self, call: _Call, kind: str) -> PspAnswer:
        endpoint = call.endpoint
        checked = check(call.params, {**endpoint.rules, "expand": texts}, endpoint.required)
        try:
            if kind == "error_500_before":
                raise errors.broken()
            if kind == "refuse":
                raise refusal(call.operation)
            thing = endpoint.run(self._provider, call.id, checked)
        except errors.ApiError as error:
            if not error.executed:
                raise
            return PspAnswer(error.status, encode(error.body))
        if thing["object"] == "payment_intent" and not call.id:
            self._faults.remember(call.params, thing["id"])
        if kind == "error_500_after":
            return PspAnswer(500, encode(errors.broken().body))
        for path in checked.get("expand", ()):
            _expand(self._provider, thing, path.split("."))
        return PspAnswer(200, encode(thing))


def _on_the_wire(answer: PspAnswer, fault: OperationFault | None, key: str | None) -> Response:
    kind = fault.kind if fault else ""
    if fault and kind in {"timeout_after", "reset_after"}:
        return Cut(seconds=fault.seconds)
    if kind == "truncate":
        return truncated(answer.status, answer.body.encode())
    if kind == "wrong_amount":
        answer = PspAnswer(answer.status, encode(spoiled(from_json(answer.body))), answer.replayed)
    return _response(answer, key)


def _response(answer: PspAnswer, key: str | None) -> Response:
    headers = {}
    if key is not None and key.isascii():
        headers["Idempotency-Key"] = key
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(answer.body, answer.status, headers, "application/json")


def _expand(provider: Provider, thing: Any, path: list[str]) -> None:
    """Put the object where its id stands."""
    if isinstance(thing, list):
        for one in thing:
            _expand(provider, one, path)
        return
    name, *rest = path
    if not isinstance(thing, dict) or name not in thing:
        raise errors.invalid(f"This property cannot be expanded ({name}).", param="expand")
    if isinstance(thing[name], str):
        thing[name] = _object(provider, thing[name])
    if rest and thing[name] is not None:
        _expand(provider, thing[name], rest)


def _object(provider: Provider, id: str) -> Object | str:
    rows = provider.store.query("SELECT body FROM objects WHERE id = ?", id)
    return from_json(rows[0][0]) if rows else id
