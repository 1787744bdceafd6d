"""The common base of all parts of the PSP: its store, its ids, and a way to tell of what happened."""

import hashlib
import random
from collections.abc import Mapping
from typing import Any

from sandbox.psp.api.errors import missing
from sandbox.psp.psp_store import Object, PspStore, encode

API_VERSION = "2026-08-26.dahlia"
# Stripe's prefixes, by the kind of object.
PREFIXES = {
    "payment_intent": "pi",
    "charge": "ch",
    "refund": "re",
    "balance_transaction": "txn",
    "payout": "po",
    "event": "evt",
}
_NAMES = {
    "payment_intent": "payment_intent",
    "charge": "charge",
    "refund": "refund",
    "balance_transaction": "balance transaction",
    "payout": "payout",
    "event": "event",
}
# The search shows what is a minute old, as Stripe's does as a rule (docs.stripe.com/search).
SEARCH_LAG_SECONDS = 60
# Objects that do not say whether their money is real.
_WITHOUT_MODE = frozenset(("refund", "balance_transaction"))


class Provider:
    """One account at the PSP."""

    def __init__(self, store: PspStore, base_url: str, seed: int | None = None) -> None:
        self.store = store
        self.base_url = base_url
        self.seed = store.setting("seed", str(random.getrandbits(63) if seed is None else seed))
        # A start never draws an id that an earlier one may have drawn.
        start = int(store.setting("starts", "0")) + 1
        store.set_setting("seed", self.seed)
        store.set_setting("starts", str(start))
        self.search_lag_seconds = int(store.setting("search_lag_seconds", str(SEARCH_LAG_SECONDS)))
        store.commit()
        self._start = start
        self._count = 0

    def now(self) -> int:
        """The PSP's own time, Unix seconds."""
        return self.store.now()

    def set_search_lag(self, seconds: int) -> None:
        """Have the search find only what is older than this, from now on."""
        self.search_lag_seconds = seconds
        self.store.set_setting("search_lag_seconds", str(seconds))

    def new_id(self, kind: str) -> str:
        """An id in Stripe's manner; the same seed draws the same ones in the same order."""
        self._count += 1
        # The number comes first: ids that grow are appended to an index, random ones are spread all over it.
        number = f"{self._start:04d}{self._count:09d}"
        return f"{PREFIXES[kind]}_{number}{self.token(number)[:12]}"

    def token(self, of: str) -> str:
        """24 letters and digits that only follow from `of` and the seed."""
        return hashlib.blake2b(f"{self.seed}:{of}".encode(), digest_size=12).hexdigest()

    def new(self, kind: str, **fields: Any) -> Object:
        """A new object with its id and its time; `store.put` keeps it."""
        head = {"id": self.new_id(kind), "object": kind, "created": self.now()}
        mode = {} if kind in _WITHOUT_MODE else {"livemode": False}
        return {**head, **mode, **fields}

    def require(self, kind: str, id: str, param: str = "id") -> Object:
        """The object, or the error that it does not exist."""
        found = self.store.find(kind, id)
        if found is None:
            raise missing(_NAMES[kind], id, param)
        return found

    def emit(self, type: str, thing: Object) -> None:
        """Write an event, in the transaction of the change that it describes, and queue its webhook."""
        event = self.new(
            "event",
            api_version=API_VERSION,
            data={"object": thing},
            pending_webhooks=1,
            request={"id": None, "idempotency_key": None},
            type=type,
        )
        self.store.put("event", event, parent=type)
        self.queue(event["id"])

    def queue(self, event_id: str) -> None:
        """Replaced by the webhook sender, when there is one."""

    def enter(  # noqa: PLR0917
        self,
        kind: str,
        id: str,
        intent: Object,
        amount: int,
        status: str,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Enter a line in the PSP's own book, apart from the objects that the API shows.

        `metadata` of a refund stands before its intent's.
        """
        self.store.execute(
            "INSERT INTO book VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (kind, id) DO UPDATE SET status = excluded.status",
            kind,
            id,
            intent["id"],
            amount,
            intent["currency"].upper(),
            status,
            self.now(),
            encode({**intent["metadata"], **(metadata or {})}),
        )
