"""Idempotency keys by Stripe's rules (docs.stripe.com/api/idempotent_requests).

The first answer is kept once the request began to run, 500 included, and given again for the same parameters. Other
parameters or another endpoint are an error; a key that is being worked on is a conflict; what failed validation is
not kept; a day later the key is forgotten.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sandbox.psp.api.errors import invalid, key_in_use, key_reused
from sandbox.psp.psp_store import Object, PspStore, encode

KEPT_SECONDS = 86_400
LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class PspAnswer:
    """The response of a call."""

    status: int
    body: str
    replayed: bool = False


class IdempotencyKeys:
    """The keys of one PSP."""

    def __init__(self, store: PspStore) -> None:
        self._store = store
        self._in_use: set[str] = set()

    def need_free(self, key: str | None) -> None:
        """Raises the conflict when a call with this key is being worked on."""
        if key in self._in_use:
            raise key_in_use(key)

    @contextmanager
    def used(self, key: str | None) -> Iterator[None]:
        """Nobody else can use the key meanwhile."""
        if key is None:
            yield
            return
        if len(key) > LONGEST_KEY:
            raise invalid(f"The Idempotency-Key is longer than {LONGEST_KEY} characters.")
        self.need_free(key)
        self._in_use.add(key)
        try:
            yield
        finally:
            self._in_use.discard(key)

    def kept(self, key: str | None, path: str, params: Object) -> PspAnswer | None:
        """The first answer under this key, or the error that the key was used for something else."""
        if key is None:
            return None
        rows = self._store.query(
            "SELECT path, fingerprint, status, body, created FROM idempotency WHERE key = ?", key
        )
        if not rows or rows[0][4] + KEPT_SECONDS <= self._store.now():
            return None
        first_path, fingerprint, status, body, _ = rows[0]
        if first_path != path:
            raise key_reused(key, first_path)
        if fingerprint != _fingerprint(params):
            raise key_reused(key, None)
        return PspAnswer(status, body, replayed=True)

    def keep(self, key: str | None, path: str, params: Object, answer: PspAnswer) -> None:
        """Remember the first answer."""
        if key is not None:
            self._store.execute(
                "INSERT OR REPLACE INTO idempotency (key, path, fingerprint, status, body, created)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                key,
                path,
                _fingerprint(params),
                answer.status,
                answer.body,
                self._store.now(),
            )


def _fingerprint(params: Object) -> bytes:
    # The order in a form means nothing; the order in a list does, and stays.
    ordered = encode(_sorted(params))
    return hashlib.sha256(ordered.encode()).digest()


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return value
