"""The strings to pull that stand-ins have in common: `/sandbox/faults` and `/sandbox/clock`."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from sandbox.stand_in.durable_store import DurableStore
from sandbox.stand_in.fault_list import FaultList, FaultRequest, FaultT


class ControlRequest(BaseModel):
    """A request to a control of the sandbox; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class ClockRequest(ControlRequest):
    """A request to put the stand-in's clock forward."""

    advance_seconds: int = Field(ge=0)


def every_fault() -> Callable[[Any], bool]:
    """All faults are cleared."""
    return lambda _: True


def add_fault_routes(
    router: APIRouter,
    store: DurableStore,
    faults: FaultList[FaultT],
    request_type: type[FaultRequest],
    cleared: Callable[..., Callable[[FaultT], bool]] = every_fault,
) -> None:
    """List, add and clear faults. `cleared` is a dependency of FastAPI: which faults the query of DELETE means."""

    @router.get("/faults")
    async def _faults() -> dict[str, Any]:
        return faults.report()

    @router.post("/faults", status_code=201)
    async def _add(request: request_type) -> dict[str, Any]:  # type: ignore[valid-type]
        faults.add_requested(request)
        await store.durable()
        return faults.report()

    @router.delete("/faults")
    async def _clear(
        meant: Annotated[Callable[[FaultT], bool], Depends(cleared)],
    ) -> dict[str, Any]:
        faults.clear(meant)
        await store.durable()
        return faults.report()


def add_clock_route(router: APIRouter, store: DurableStore, shown: Callable[[int], Any]) -> None:
    """Put the clock forward; the response has the new time as it is `shown`."""

    @router.post("/clock")
    async def _clock(request: ClockRequest) -> dict[str, Any]:
        now = store.advance_clock(request.advance_seconds)
        await store.durable()
        return {"now": shown(now)}
