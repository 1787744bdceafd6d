"""The probes: alive, ready only when database and checks are fine, and metrics."""

import asyncio
import os
import signal

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.database import connect
from chassis.probes import Probes, until_stopped
from sandbox.local.ports import free_port


async def test_ready_while_the_database_answers(engine: AsyncEngine) -> None:
    async with serving(engine) as probes, client(probes) as http:
        assert (await http.get("/livez")).status_code == 200
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.text) == (200, "ready\n")
        assert "python_gc_objects_collected_total" in (await http.get("/metrics")).text
        assert (await http.get("/other")).status_code == 404
        assert (await http.post("/livez")).status_code == 400


async def test_alive_but_not_ready_without_the_database() -> None:
    unreachable = connect("postgresql+asyncpg://nobody:x@127.0.0.1:1/none", "billing")
    async with serving(unreachable) as probes, client(probes) as http:
        assert (await http.get("/livez")).status_code == 200
        ready = await http.get("/readyz")
        assert ready.status_code == 503
        assert ready.text.startswith("database: ")


async def test_every_failed_check_is_reported(engine: AsyncEngine) -> None:
    async def lags() -> str | None:
        return "the consumer has not moved for 90 s"

    async def hangs() -> str | None:
        await asyncio.Event().wait()
        return None

    async with (
        Probes(free_port(), engine, ready=[lags, hangs], host="127.0.0.1") as probes,
        client(probes) as http,
    ):
        ready = await http.get("/readyz")
    assert ready.status_code == 503
    assert ready.text == "the consumer has not moved for 90 s\nhangs: TimeoutError\n"


async def test_clients_that_do_not_speak_http_do_no_harm(engine: AsyncEngine) -> None:
    async with serving(engine) as probes, client(probes) as http:
        for data in (b"", b"\x00" * 100_000, b"GET /livez"):
            _, writer = await asyncio.open_connection("127.0.0.1", probes.bound_port)
            writer.write(data)
            writer.close()
        assert (await http.get("/livez")).status_code == 200


async def test_port_zero_serves_nothing(engine: AsyncEngine) -> None:
    async with Probes(0, engine) as probes:
        assert probes.bound_port == 0


async def test_stopped_by_sigterm() -> None:
    waiting = asyncio.create_task(until_stopped())
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(waiting, 5)


def serving(engine: AsyncEngine) -> Probes:
    return Probes(free_port(), engine, host="127.0.0.1")


def client(probes: Probes) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{probes.bound_port}")
