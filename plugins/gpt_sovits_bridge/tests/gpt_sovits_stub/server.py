"""A stub behind a real server."""

from __future__ import annotations

import threading
import time
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from .options import Options, State
from .v1 import create_v1
from .v2 import create_v2


class StubServer:
    """A stub on a free port, in a thread of this process."""

    def __init__(self, port: int = 0, **options: Any) -> None:
        self.options = Options(**options)
        self.state = State()
        create = {"v1": create_v1, "v2": create_v2}[self.options.api]
        app = _counted(create(self.options, self.state), self.state)
        config = uvicorn.Config(
            app, port=port, log_config=None, lifespan="off", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="gpt-sovits-stub")
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            assert self._thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def end(self) -> None:
        """Begin to shut down."""
        self._server.should_exit = True

    def stop(self) -> None:
        """Shut down and wait for it."""
        self.end()
        self._thread.join(20)
        assert not self._thread.is_alive()


def _counted(app: ASGIApp, state: State) -> ASGIApp:
    """Count the requests that are answered at the same time."""

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        state.in_flight += 1
        state.most_in_flight = max(state.most_in_flight, state.in_flight)
        try:
            await app(scope, receive, send)
        finally:
            state.in_flight -= 1

    return counting
