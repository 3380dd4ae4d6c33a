"""Which reader a plan is for."""

from __future__ import annotations

import os
from pathlib import Path

from fastdag.plan.model import Plan
from fastdag.plan.problems import Problems


def load(path: str | os.PathLike[str]) -> Plan:
    """Read a plan and check all of it.

    Parameters
    ----------
    path : str or path
        A file in TOML (`.toml`), the output of `terraform show -json` for a plan or a state (`.json`), a folder of
        `.tf` files, or one such file.

    Returns
    -------
    Plan

    Raises
    ------
    PlanError
        If anything is wrong with it; it has all that is.
    OSError
        If it cannot be read.
    """
    path = Path(path)
    if path.is_dir() or path.suffix == ".tf":
        from fastdag.plan.folder import load_folder  # noqa: PLC0415 - needs python-hcl2

        return load_folder(path)
    problems = Problems()
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        problems.add(str(path), data.count(b"\n", 0, error.start) + 1, "this is not UTF-8")
        raise problems.error() from None
    match path.suffix:
        case ".toml":
            from fastdag.plan.toml import load_toml  # noqa: PLC0415

            return load_toml(str(path), text)
        case ".json":
            from fastdag.plan.terraform import load_json  # noqa: PLC0415

            return load_json(str(path), text)
        case _:
            problems.add(str(path), 1, "what is this? A plan is NAME.toml, NAME.json, NAME.tf or a folder of .tf files")
            raise problems.error()
