"""The service against its own OpenAPI document: the document is a sound one, and schemathesis finds no difference."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service_support import PATIENCE, running_service

from fastdag.service.calls import CALLS, EVENTS  # isort: skip - once it is known to be installed
from fastdag.service.openapi import document  # isort: skip

HERE = Path(__file__).parent
TOKEN = "0123456789abcdef"


def test_the_document_describes_every_call() -> None:
    described = document()
    assert {(path, method) for path, methods in described["paths"].items() for method in methods} == {
        (call.path, call.method.lower()) for call in (*CALLS, EVENTS)
    }
    for methods in described["paths"].values():
        for operation in methods.values():
            assert operation["summary"].endswith(".")
            assert {"200", "400", "422", "503"} <= set(operation["responses"])


def test_the_document_is_openapi_3_1() -> None:
    schemathesis = pytest.importorskip("schemathesis")
    schemathesis.openapi.from_dict(document()).validate()
    broken = document()
    broken["paths"]["/v1/ping"]["get"]["responses"]["200"].pop("description")
    with pytest.raises(Exception, match="description"):
        schemathesis.openapi.from_dict(broken).validate()


def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """All its checks; at length with `FASTDAG_EXAMPLES=1000 FASTDAG_SEED=7`."""
    pytest.importorskip("schemathesis")
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text(TOKEN)
    examples = os.environ.get("FASTDAG_EXAMPLES", "10")
    with running_service(tmp_path, "--listen", "127.0.0.1:0", "--token-file", token) as service:
        url = service.log.rsplit(" ", 1)[1].strip()
        options = f"--checks all --phases coverage,fuzzing --max-examples {examples} --request-timeout 20 --no-color"
        options += f" --seed {os.environ.get('FASTDAG_SEED', '1')} --continue-on-failure"
        options += " --exclude-path /v1/events"  # does not end
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", HERE / "openapi.toml", "run"]
        done = subprocess.run(
            [*command, f"{url}/openapi.json", "--header", f"Authorization: Bearer {TOKEN}", *options.split()],
            env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.openapi_hooks", "PYTHONPATH": str(HERE.parent)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE * max(5, int(examples)),
            check=False,
        )
        assert done.returncode == 0, done.stdout[-10_000:] + done.stderr
        assert "Tested: 17" in done.stdout, done.stdout
        assert service.get("/v1/ping")["pid"] == service.process.pid
        assert service.stop() == 0
        assert service.log.count("\n") == 1, service.log
