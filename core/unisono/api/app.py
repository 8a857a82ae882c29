"""The ASGI application over a kernel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from .. import __version__, codecs
from ..errors import SpeechError
from ..kernel import Kernel
from .engines import engine_router, speech_engines
from .errors import add_error_handlers
from .health import Readiness, health_router
from .incoming import BodyLimit
from .middleware import ApiKeys, RequestIds
from .models import models_router
from .schemas import document
from .speech import HEARD, IGNORED, MODEL, speech_route
from .transcriptions import transcriptions_router
from .voices import voices_router

RETRY_SECONDS = 2.0
"""Pause before another attempt to load the models that readiness waits for."""

logger = logging.getLogger(__name__)


def create_app(kernel: Kernel) -> FastAPI:
    """Build the application: OpenAI's API for whatever the kernel serves.

    The application closes the kernel when it shuts down.
    """
    config = kernel.config
    readiness = Readiness()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        preloading = asyncio.create_task(_preload(kernel, readiness))
        async with kernel:
            yield
            preloading.cancel()
            await asyncio.wait([preloading])

    app = FastAPI(
        title="unisono",
        version=__version__,
        summary="Many voices, sounding as one: an OpenAI-compatible API over speech engines.",
        lifespan=lifespan,
        redoc_url=None,
    )
    add_error_handlers(app)
    # A plain route, and the first one: FastAPI's handling costs as much again as all of ours, and
    # has nothing to add, since the body is validated against the model's own fields.
    app.router.routes.insert(0, speech_route(kernel))
    app.include_router(transcriptions_router(kernel))
    app.include_router(models_router(kernel))
    app.include_router(voices_router(kernel))
    for engine in speech_engines(kernel):
        app.router.routes.append(speech_route(kernel, engine))
        app.include_router(engine_router(kernel, engine))
    app.include_router(health_router(kernel, readiness))
    kernel.plugins.hook.register_routes(app=app, kernel=kernel)
    document(app, kernel)

    # The last one added is the outermost.
    app.add_middleware(
        ApiKeys,
        keys=[key.get_secret_value() for key in config.server.api_keys],
        public_discovery=config.server.public_discovery,
    )
    limits = config.limits
    app.add_middleware(BodyLimit, most=limits.upload_bytes, seconds=limits.upload_seconds)
    app.add_middleware(RequestIds)
    if config.server.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.server.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after", IGNORED, MODEL, HEARD],
        )
    return app


async def _preload(kernel: Kernel, readiness: Readiness) -> None:
    if kernel.config.server.preload:
        await asyncio.to_thread(codecs.warm_up)
    while not readiness.ready:
        try:
            await kernel.preload()
        except SpeechError as error:
            readiness.problem = str(error)
            logger.error("Not ready: %s", error)
            await asyncio.sleep(error.retry_after or RETRY_SECONDS)
        else:
            readiness.ready = True
