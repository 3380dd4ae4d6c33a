"""What every benchmark shares, what its results carry, and the table after the run."""

from collections.abc import Callable, Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import extras, ratios, report
from benchmarks.environment import commit, environment, headline

# pytest-benchmark's own table, some 200 rows of rounds and outliers, is shown to whoever asks for it.
OWN_TABLE = ("group-by", "sort", "columns", "name", "histogram", "compare", "verbose", "cprofile", "time-unit", "csv")


@pytest.fixture
def budget(request: pytest.FixtureRequest) -> Callable[[str], float | None]:
    """What an implementation may take, in seconds: a peer has a budget."""
    seconds: float = request.config.getoption("--benchmark-budget")
    return lambda implementation: None if implementation == "fastdag" else seconds


@pytest.fixture(autouse=True)
def implementation_in_results(request: pytest.FixtureRequest) -> None:
    if "benchmark" not in request.fixturenames:
        return
    benchmark = request.getfixturevalue("benchmark")
    parameters = getattr(request.node, "callspec", None)
    benchmark.extra_info["implementation"] = (
        parameters.params.get("implementation", "fastdag") if parameters else "fastdag"
    )
    benchmark.extra_info["kind"] = request.node.path.stem.removeprefix("test_")


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    machine_info["fastdag"] = environment()


def pytest_benchmark_update_commit_info(commit_info: dict[str, Any]) -> None:
    commit_info["described"] = commit()


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    output_json["fastdag"] = asdict(extras.of(config))


@pytest.hookimpl(wrapper=True)
def pytest_benchmark_group_stats(config: pytest.Config) -> Generator[None, Any, Any]:
    groups = yield
    arguments = config.invocation_params.args
    asked = any(str(argument).startswith(tuple(f"--benchmark-{name}" for name in OWN_TABLE)) for argument in arguments)
    return groups if asked else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    session: Any = config._benchmarksession  # type: ignore[attr-defined]  # pytest-benchmark has no other way to it
    results = ratios.read([bench.as_dict(include_data=True) for bench in session.benchmarks if not bench.has_error])
    if not results:
        return
    head = headline(session.get_machine_info(), commit())
    terminalreporter.section("fastdag beside its peers")
    terminalreporter.write_line(head)
    for line in ratios.table(results, extras.of(config)):
        terminalreporter.write_line(line)
    path: Path | None = config.getoption("--benchmark-report")
    if path:
        path.write_text(report.page(results, extras.of(config), head), "utf-8")
        terminalreporter.write_line(f"\nthe same with plots: {path}")
