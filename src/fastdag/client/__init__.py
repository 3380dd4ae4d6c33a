"""Talking to a fastdag service from Python: `Client`, and `AsyncClient` for asyncio.

The names below are loaded when they are first used: the command line imports this package on its way to the few lines
that a short command needs.
"""

TYPE_CHECKING = False  # as `typing` has it, which takes longer to import than a short command may take
if TYPE_CHECKING:
    from fastdag.client.answers import Ping as Ping
    from fastdag.client.answers import ServiceUnit as ServiceUnit
    from fastdag.client.answers import Snapshot as Snapshot
    from fastdag.client.answers import UnitStatus as UnitStatus
    from fastdag.client.asynchronous import AsyncClient as AsyncClient
    from fastdag.client.asynchronous import AsyncEvents as AsyncEvents
    from fastdag.client.blocking import Client as Client
    from fastdag.client.blocking import Events as Events
    from fastdag.client.wire import default_socket as default_socket

_HOMES = {
    "AsyncClient": "asynchronous",
    "AsyncEvents": "asynchronous",
    "Client": "blocking",
    "Events": "blocking",
    "Ping": "answers",
    "ServiceUnit": "answers",
    "Snapshot": "answers",
    "UnitStatus": "answers",
    "default_socket": "wire",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """Load a public name on first use; imports of submodules come by here as well."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fastdag.client' has no attribute {name!r}")
    import importlib  # noqa: PLC0415

    value: object = getattr(importlib.import_module(f"fastdag.client.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
