"""Whether the server lives, and whether it is ready for traffic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from .. import __version__
from ..kernel import Kernel


@dataclass
class Readiness:
    """Becomes true when every model of `server.preload` is loaded."""

    ready: bool = False
    problem: str | None = None


def health_router(kernel: Kernel, readiness: Readiness) -> APIRouter:
    """Return the routes for load balancers and people."""
    router = APIRouter()

    @router.head("/health", include_in_schema=False)  # what some watchers send
    @router.get("/health", operation_id="getHealth", summary="Say that the server lives")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "version": __version__}

    @router.head("/ready", include_in_schema=False)
    @router.get("/ready", operation_id="getReady", summary="Say whether models are ready")
    async def ready() -> JSONResponse:
        status = "ready" if readiness.ready else readiness.problem or "loading"
        body = {"status": status, "loaded": kernel.pool.loaded()}
        return JSONResponse(body, 200 if readiness.ready else 503)

    return router
