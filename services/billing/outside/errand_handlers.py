"""Register kinds of errands with the dispatcher: their functions, and the cases that their failures become."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from errands import Dispatcher, Errand, ErrandHandler, ErrandRun
from services.billing.outside.cases import Result, open_for_failed_call, open_for_result
from services.billing.subject import Subject


class _Item(Protocol):
    @property
    def subject(self) -> Subject: ...

    @property
    def errand(self) -> Errand: ...


_ItemT = TypeVar("_ItemT", bound=_Item)
_ResultT = TypeVar("_ResultT", bound=Result)


def register(  # noqa: PLR0917
    dispatcher: Dispatcher,
    engine: AsyncEngine,
    kind: str,
    read_open: Callable[[AsyncConnection, Sequence[Errand]], Awaitable[Sequence[_ItemT]]],
    run: Callable[[_ItemT, ErrandRun], Awaitable[_ResultT]],
    record: Callable[[AsyncConnection, Sequence[_ResultT]], Awaitable[int]],
) -> None:
    """Have the dispatcher work on errands of this kind. A run that fails or cannot be recorded becomes a case."""

    async def open_case(item: _ItemT, error: Exception) -> None:
        await open_for_failed_call(engine, item.subject, error)

    unrecorded = partial(open_for_result, engine)
    dispatcher.register(ErrandHandler(kind, read_open, run, record, open_case, unrecorded))
