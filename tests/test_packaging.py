"""What is installed: its version, its types, and that importing it needs only the standard library."""

import subprocess
import sys
import sysconfig
from importlib import metadata, resources
from pathlib import Path

import pytest

import fastdag

SOURCE = str(Path(fastdag.__file__).parents[1])

REPORT_FOREIGN_MODULES = """
import sys
before = set(sys.modules)
from fastdag import *
for name in sorted(set(sys.modules) - before):
    # a compiled module registers helpers of Cython's under a name of their own, with no file
    top = sys.modules[name].__name__.partition(".")[0]
    if top not in sys.stdlib_module_names and top != "fastdag" and getattr(sys.modules[name], "__file__", None):
        print(name)
"""


def test_importing_fastdag_needs_only_the_standard_library():
    run = subprocess.run([sys.executable, "-c", REPORT_FOREIGN_MODULES], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_importing_fastdag_alone_loads_nothing_else():
    code = "import sys; before = set(sys.modules); import fastdag; print(*sorted(set(sys.modules) - before))"
    command = [sys.executable, "-S", "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": SOURCE})
    assert run.stdout.split() == ["fastdag"]


def test_names_are_the_same_however_they_are_reached():
    assert fastdag.Graph is fastdag._core.Graph
    assert fastdag.errors.CycleError is fastdag.CycleError
    assert set(fastdag.__all__) < set(dir(fastdag))
    with pytest.raises(AttributeError, match="module 'fastdag' has no attribute 'Grpah'"):
        fastdag.Grpah  # noqa: B018


def test_the_version_is_that_of_the_distribution():
    assert fastdag.__version__ == metadata.version("fastdag")


def test_no_dependency_is_required():
    required = [line for line in metadata.requires("fastdag") or [] if "extra ==" not in line]
    assert required == []


def test_the_package_is_marked_as_typed():
    files = resources.files("fastdag")
    assert files.joinpath("py.typed").is_file()
    assert files.joinpath("_core.pyi").is_file()


def test_every_public_name_is_there():
    assert [name for name in fastdag.__all__ if not hasattr(fastdag, name)] == []


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this build has the interpreter lock")
def test_importing_fastdag_leaves_the_interpreter_lock_off():
    code = "import sys, fastdag._core; sys.exit(sys._is_gil_enabled())"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
