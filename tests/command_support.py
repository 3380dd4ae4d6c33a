"""A service as a user starts it, and the installed command, for tests with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("fastdag"))


class ServiceProcess:
    """`fastdag serve` in a process, from the moment at which it answers."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.socket = directory / "s"
        self._options = options
        self.start()

    def start(self) -> None:
        command = [COMMAND, "serve", "--socket", str(self.socket), *self._options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        first = self.process.stderr.readline()
        assert first.startswith("fastdag service:"), first + self.process.stderr.read()

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.communicate(timeout=60)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "FASTDAG_SOCKET": str(self.socket)}

    def run(self, *words: str, **options) -> subprocess.CompletedProcess[str]:
        return run(*words, env=self.environment() | options.pop("env", {}), **options)

    def popen(self, *words: str, **options) -> subprocess.Popen[str]:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        return subprocess.Popen([COMMAND, *words], env=self.environment(), **options)


def run(*words: str, **options) -> subprocess.CompletedProcess[str]:
    """Run the installed command to its end."""
    return subprocess.run([COMMAND, *words], capture_output=True, timeout=60, check=False, **{"text": True} | options)


@pytest.fixture
def service():
    """Give a running service of this test's own."""
    pytest.importorskip("uvicorn", reason="NOT TESTED with a service: the extra [service] is not installed")
    with tempfile.TemporaryDirectory(prefix="fastdag-") as directory:
        running = ServiceProcess(Path(directory))
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.stop()
            running.process.stderr.close()
