"""What a result has to carry: the machine, the versions, the seed and the commit."""

import os
import platform
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import Any

import fastdag
from benchmarks import workloads

PEERS = ("rustworkx", "networkx", "igraph")


def version_of(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def interpreter_lock() -> bool:
    """Whether this interpreter runs with its lock."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def commit() -> str:
    """The commit of this tree, with `-dirty` where something is changed."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return described or "unknown commit"


def environment() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "version": fastdag.__version__,
        "peers": {name: version_of(name) for name in PEERS},
        "python": platform.python_version(),
        "interpreter_lock": interpreter_lock(),
        "built_without_interpreter_lock": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "seed": workloads.SEED,
    }


def headline(machine: dict[str, Any], described: str) -> str:
    """One line that says what was measured where, from a result's `machine_info` and its commit."""
    cpu = machine.get("cpu", {}).get("brand_raw") or machine.get("machine", "unknown processor")
    own = machine["fastdag"]
    peers = ", ".join(f"{name} {version}" for name, version in own["peers"].items())
    lock = "" if own["interpreter_lock"] else " without the interpreter lock"
    return (
        f"fastdag {own['version']} ({described}), {peers}; "
        f"{machine['python_implementation']} {own['python']}{lock}, {cpu}, {own['cores']} cores, seed {own['seed']}"
    )
