"""Fixtures of several files."""

from command_support import service
from runner_support import runner

__all__ = ["runner", "service"]
