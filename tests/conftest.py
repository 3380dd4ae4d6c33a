"""Fixtures of several files."""

from command_support import service

__all__ = ["service"]
