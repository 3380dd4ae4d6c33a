"""Fixtures of several files."""

from service_support import service

__all__ = ["service"]
