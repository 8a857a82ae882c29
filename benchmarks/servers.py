"""Server processes: start, pin to a core, measure from outside, stop."""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
START_SECONDS = 30.0
UVICORN = ["--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "warning"]


def cores() -> tuple[int, int] | None:
    """Return a core for the servers and one for the client, if both can be chosen."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else None


class Cores:
    """Which core this process runs on, and which its servers."""

    def __init__(self) -> None:
        self._cores = cores()
        self.client()

    @property
    def pinned(self) -> bool:
        return self._cores is not None

    def server(self) -> None:
        """Let what is started now run on the servers' core."""
        self._pin(0)

    def client(self) -> None:
        """Run on the client's core."""
        self._pin(1)

    def busy_seconds(self) -> float | None:
        """Return how long the servers' core has not been idle, or not ours; None if unknown."""
        if self._cores is None:
            return None
        rows = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
        row = next(row for row in rows if row[0] == f"cpu{self._cores[0]}")
        user, nice, system, _, _, irq, softirq, steal = map(int, row[1:9])
        ticks = user + nice + system + irq + softirq + steal
        return ticks / os.sysconf("SC_CLK_TCK")

    def waited_seconds(self) -> float:
        """Return how long this process, the client, has waited for its core."""
        if self._cores is None:
            return 0.0
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9

    def _pin(self, index: int) -> None:
        if self._cores is not None:
            os.sched_setaffinity(0, {self._cores[index]})


class Server:
    """A server process on loopback, from its start until it answers `/health`, to its end."""

    def __init__(self, command: Sequence[str], cores: Cores) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `stop`
        self._directory = tempfile.TemporaryDirectory()  # no configuration file here
        environment = {k: v for k, v in os.environ.items() if not k.startswith("UNISONO_")}
        environment["XDG_CONFIG_HOME"] = self._directory.name
        cores.server()
        began = time.perf_counter()
        try:
            self._process = subprocess.Popen(
                [sys.executable, *command, "--port", str(self.port)],
                stdout=self._log,
                stderr=subprocess.STDOUT,
                cwd=self._directory.name,
                env=environment,
            )
        finally:
            cores.client()
        try:
            self._wait_until_healthy()
        except BaseException:
            self.stop()
            raise
        self.start_seconds = time.perf_counter() - began

    @classmethod
    def of_app(cls, app: str, cores: Cores, *arguments: str) -> Server:
        """Start an ASGI application of this directory."""
        command = ["-m", "uvicorn", app, "--app-dir", str(HERE), *UVICORN, *arguments]
        return cls(command, cores)

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_seconds(self) -> float:
        """Return the processor time of all threads, those that have ended included."""
        if sys.platform == "linux":
            # The clock of another process: MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED).
            return time.clock_gettime(~self.pid << 3 | 2)
        days, _, clock = self._ps("time").rpartition("-")
        seconds = 86_400.0 * int(days or 0)
        for unit, part in enumerate(reversed(clock.split(":"))):
            seconds += float(part) * 60**unit
        return seconds

    def resident_mb(self) -> float:
        """Return the resident memory."""
        return int(self._ps("rss")) * 1024 / 1e6

    def children(self) -> int:
        """Return the number of child processes."""
        listed = subprocess.run(
            ["ps", "-A", "-o", "ppid="], capture_output=True, text=True, check=True
        )
        return listed.stdout.split().count(str(self.pid))

    def get(self, path: str) -> dict[str, Any]:
        """Return a JSON document."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()

    def stop(self) -> None:
        """End the process, and wait for that."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        self._directory.cleanup()

    def log(self) -> str:
        """Return what the server printed."""
        self._log.seek(0)
        return self._log.read()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_healthy(self) -> None:
        deadline = time.perf_counter() + START_SECONDS
        while time.perf_counter() < deadline and self._process.poll() is None:
            try:
                self.get("/health")
                return
            except OSError:
                time.sleep(0.005)
        raise RuntimeError(f"The server did not start:\n{self.log()}")

    def _ps(self, column: str) -> str:
        listed = subprocess.run(
            ["ps", "-o", f"{column}=", "-p", str(self.pid)],
            capture_output=True,
            text=True,
            check=True,
        )
        return listed.stdout.strip()


def cpu_of(command: Sequence[str]) -> float:
    """Run a command to its end; return its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=directory)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
