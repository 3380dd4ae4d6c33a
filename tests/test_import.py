"""The module in more than one interpreter, imported again, and without the interpreter lock."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import textwrap

import pytest

import fastdag


def run(code, executable=sys.executable):
    return subprocess.run(
        [executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_a_second_interpreter_is_refused(kind):
    # One that has its own lock would run beside this one without any lock between them; one that shares it would share
    # classes and exceptions of the first. Cython's modules are for one interpreter in a process.
    done = run(
        f"""
        import sys
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        from fastdag import Graph
        if sys.version_info >= (3, 13):
            other = interpreters.create({kind!r})
        elif sys.version_info >= (3, 12):
            other = interpreters.create(isolated={kind == "isolated"})
        else:
            other = interpreters.create()
        code = "import sys; sys.path[:] = " + repr(sys.path) + '''
        try:
            from fastdag import Graph
        except ImportError as error:
            assert "interpreter" in str(error), error
        else:
            raise SystemError("imported")
        '''.replace("\\n        ", "\\n")
        failed = (interpreters.exec if sys.version_info >= (3, 13) else interpreters.run_string)(other, code)
        assert failed is None, failed
        graph = Graph()
        assert graph.add_edge("a", "b")
        print("refused")
        """
    )
    assert (done.stdout, done.returncode) == ("refused\n", 0), done.stderr


def test_reload():
    graph = fastdag.Graph()
    assert importlib.reload(fastdag) is fastdag
    assert importlib.reload(fastdag._core).Graph is fastdag.Graph is type(graph)
    with pytest.raises(fastdag.CycleError):
        graph.add_edge("a", "a")


def test_without_the_interpreter_lock():
    executable = shutil.which("python3.14t") or shutil.which("python3.13t")
    if getattr(sys, "_is_gil_enabled", None) is not None and "free-threading" in sys.version:
        executable = sys.executable
    elif executable is None or run("import fastdag._core", executable).returncode:
        pytest.skip("no python3.14t or python3.13t with fastdag on the PATH")
    done = run("import fastdag._core, sys; print(sys._is_gil_enabled())", executable)
    assert done.stdout == "False\n", done.stderr
