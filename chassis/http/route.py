"""The app's engine and the correlation id of a request."""

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncEngine


def engine_of(request: Request) -> AsyncEngine:
    """Return the engine of the app that serves this request (set by chassis/http/web.py)."""
    engine: AsyncEngine = request.app.state.engine
    return engine


def correlation_of(request: Request) -> str | None:
    """Return the request's id (set by chassis/http/edge.py), which follows the request through every event."""
    return getattr(request.state, "request_id", None)
