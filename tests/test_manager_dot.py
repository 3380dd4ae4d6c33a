"""Pictures of a manager in Graphviz's language, compared with files that were looked at once."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from manager_support import at_once

from fastdag import Manager, Requirement, Status

GOLDEN = Path(__file__).parent / "golden"


def simple():
    manager = Manager()
    manager.register_all(["A", "B", "C"])
    manager.add_dependency("A", "B")
    manager.add_dependency("A", "C", Status.STARTED)
    manager.update_status("C", Status.STARTED)
    return manager


def complex_():
    manager = Manager(auto_skip=True)
    manager.register_all(["app", "web server", 'say "hi"', "db", "disk", "cache\\path"])
    manager.add_dependency("app", "web server", Requirement.STARTED)
    manager.add_dependency("app", 'say "hi"', Requirement.COMPLETION)
    manager.add_dependency("web server", "db")
    manager.add_dependency("web server", "cache\\path", Requirement({"warm", "hot"}, impossible={"gone"}))
    manager.add_dependency("db", "disk")
    manager.add_dependency("cache\\path", "disk", "mounted")
    manager.add_dependency('say "hi"', "nobody yet")
    manager.update_status("cache\\path", "warm")
    manager.update_status("disk", Status.FAILED)
    return manager


@pytest.mark.parametrize(("name", "make"), [("simple", simple), ("complex", complex_)])
def test_against_the_golden_file(name, make):
    assert make().to_dot(name) == (GOLDEN / f"manager_{name}.dot").read_text()


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_can_read_it():
    subprocess.run(["dot", "-Tcanon"], input=complex_().to_dot("G"), text=True, check=True, capture_output=True)


def test_drawing_beside_writers():
    manager = Manager()
    manager.register("0")
    manager.add_dependency("0", "base")

    def write(name):
        for i in range(100):
            manager.register(f"{name}{i}")
            manager.add_dependency(f"{name}{i}", "0")
            manager.update_status(f"{name}{i}", Status.STARTED)

    def draw():
        for _ in range(10):
            assert '"0" -> "base"' in manager.to_dot()

    at_once(*(lambda name=name: write(name) for name in "abcd"), draw, draw)


def test_mermaid():
    manager = Manager()
    manager.register_all(['a "quoted" <name> #1', "db"])
    manager.add_dependency('a "quoted" <name> #1', "db")
    manager.add_dependency("db", "disk", "mounted")
    assert manager.to_mermaid() == (
        "flowchart LR\n"
        '  v0["a #quot;quoted#quot; #lt;name#gt; #35;1<br>pending"]\n'
        '  v1["db<br>pending"]\n'
        '  v2["disk<br>not registered"]\n'
        '  v0 -->|"success"| v1\n'
        '  v1 -->|"exactly mounted"| v2\n'
    )


def test_a_cycle_that_a_dependency_would_close():
    manager = Manager()
    manager.register_all(["app", "db"])
    manager.add_dependencies([("app", "db"), ("db", "disk")])
    assert manager.find_cycle("disk", "app") == ["disk", "app", "db", "disk"]
    assert manager.find_cycle("app", "app") == ["app", "app"]
    assert manager.find_cycle("app", "disk") is None
    assert manager.find_cycle("nobody", "app") is None
    assert "nobody" not in manager.graph
