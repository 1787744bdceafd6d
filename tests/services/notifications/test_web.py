"""The web process: bounded bodies, and probes without a token."""

from collections.abc import AsyncIterator

import httpx


async def test_a_large_body_is_refused_before_it_is_read(url: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"{}"

    async with httpx.AsyncClient(base_url=url) as client:
        for content in (b"x" * 70_000, pieces()):
            answer = await client.put("/v1/recipients/p1", content=content)
            assert answer.status_code == 413
            assert answer.json()["type"] == "/problems/body-too-large"


async def test_the_probes_answer_without_a_token(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, follow_redirects=True) as client:
        for path in ("/livez", "/readyz", "/metrics", "/openapi.json", "/docs"):
            assert (await client.get(path)).status_code == 200
        missing = await client.get("/v2")
        assert missing.status_code == 404
        assert missing.json()["type"] == "/problems/not-found"
