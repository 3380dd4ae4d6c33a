"""The option ``--benchmark``: run the benchmarks, and nothing else. Without it none of them runs."""

import argparse
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).with_name("benchmarks")
INSTALL = "python -m pip install -e '.[bench]'"


class _Missing(argparse.Action):
    """Stands for an option of the benchmarks where pytest-benchmark is not there."""

    def __call__(self, *_: object, **__: object) -> None:
        raise pytest.UsageError(f"the benchmarks need pytest-benchmark and the peers: {INSTALL}")


def _positive(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text!r}")
    return seconds


def _page(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".html":
        raise argparse.ArgumentTypeError(f"must be the name of an .html file, not {text!r}")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"the folder {path.parent} is not there")
    return path


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    group = parser.getgroup("benchmark")
    if not pluginmanager.hasplugin("benchmark"):
        group.addoption("--benchmark", action=_Missing, nargs=0, help=f"needs pytest-benchmark: {INSTALL}")
        return
    group.addoption("--benchmark", action="store_true", help="run the benchmarks, and nothing else")
    group.addoption(
        "--benchmark-budget",
        type=_positive,
        default=2.0,
        metavar="SECONDS",
        help="what a peer gets for one benchmark; where that is not enough, it gets a share of the input (default: 2)",
    )
    group.addoption(
        "--benchmark-report", type=_page, metavar="FILE.html", help="write the table of ratios and plots as one page"
    )


@pytest.hookimpl(tryfirst=True)  # pytest-benchmark reads its options in the same hook
def pytest_configure(config: pytest.Config) -> None:
    asked = [Path(str(argument).partition("::")[0]).resolve() for argument in config.option.file_or_dir]
    if not config.getoption("--benchmark", default=False):
        if any(path.is_relative_to(BENCHMARKS) for path in asked):
            raise pytest.UsageError("benchmarks run with the option --benchmark only")
        return
    for path in asked:
        if not path.is_relative_to(BENCHMARKS):
            raise pytest.UsageError(f"--benchmark runs what is in {BENCHMARKS}, and nothing else; {path} is not")
    if not asked:
        config.args = [str(BENCHMARKS)]
    config.option.doctestmodules = False
    config.option.benchmark_disable_gc = True


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path.is_relative_to(BENCHMARKS) and not config.getoption("--benchmark", default=False):
        return True
    return None
