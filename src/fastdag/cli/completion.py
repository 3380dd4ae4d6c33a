"""The scripts by which shells complete the words of `fastdag`, made of the parser by shtab."""

from __future__ import annotations

import shtab

from fastdag.cli.parser import make_parser


def script(shell: str) -> str:
    """Give the script for a shell."""
    text: str = shtab.complete(make_parser(), shell)
    return text
