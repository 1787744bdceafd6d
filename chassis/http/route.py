"""What a route finds at its request beside what the caller sent: the app's engine, and the id that follows it."""

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncEngine


def engine_of(request: Request) -> AsyncEngine:
    """The engine of the app that serves this request (chassis/http/web.py puts it there)."""
    engine: AsyncEngine = request.app.state.engine
    return engine


def correlation_of(request: Request) -> str | None:
    """The request's id (chassis/http/edge.py), which follows what it asks for through every event."""
    return getattr(request.state, "request_id", None)
