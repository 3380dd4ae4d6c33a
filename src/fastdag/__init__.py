"""fastdag: a live, thread-safe dependency graph, and a manager of units that depend on one another.

The names below are loaded when they are first used: the command line imports this package too, and should not wait for
what it does not need.
"""

TYPE_CHECKING = False  # as `typing` has it, which takes longer to import than a short command may take
if TYPE_CHECKING:
    from fastdag._core import Graph as Graph
    from fastdag.edge import Edge as Edge
    from fastdag.errors import CapacityError as CapacityError
    from fastdag.errors import ConflictingRequirementError as ConflictingRequirementError
    from fastdag.errors import CycleError as CycleError
    from fastdag.errors import DependencyFailedError as DependencyFailedError
    from fastdag.errors import EdgeNotFoundError as EdgeNotFoundError
    from fastdag.errors import EventGapError as EventGapError
    from fastdag.errors import FastDAGError as FastDAGError
    from fastdag.errors import PlanError as PlanError
    from fastdag.errors import SameStatusError as SameStatusError
    from fastdag.errors import ServiceError as ServiceError
    from fastdag.errors import ServiceNotFoundError as ServiceNotFoundError
    from fastdag.errors import StatusRequiredError as StatusRequiredError
    from fastdag.errors import TaskNotRunError as TaskNotRunError
    from fastdag.errors import UnitAlreadyRegisteredError as UnitAlreadyRegisteredError
    from fastdag.errors import UnitIdRequiredError as UnitIdRequiredError
    from fastdag.errors import UnitNotFoundError as UnitNotFoundError
    from fastdag.errors import VertexNotFoundError as VertexNotFoundError
    from fastdag.errors import WaitTimeoutError as WaitTimeoutError
    from fastdag.events import Event as Event
    from fastdag.explain import Explanation as Explanation
    from fastdag.explain import Stall as Stall
    from fastdag.graphlib import TopologicalSorter as TopologicalSorter
    from fastdag.manager import Manager as Manager
    from fastdag.runner.tasks import RunResult as RunResult
    from fastdag.runner.tasks import run as run
    from fastdag.status import Requirement as Requirement
    from fastdag.status import Status as Status
    from fastdag.streams import EventStream as EventStream
    from fastdag.subscribers import Subscription as Subscription
    from fastdag.units import Dependency as Dependency
    from fastdag.units import Unit as Unit

__version__ = "0.1.0"

_HOMES = {
    "CapacityError": "errors",
    "ConflictingRequirementError": "errors",
    "CycleError": "errors",
    "Dependency": "units",
    "DependencyFailedError": "errors",
    "Edge": "edge",
    "EdgeNotFoundError": "errors",
    "Event": "events",
    "EventGapError": "errors",
    "EventStream": "streams",
    "Explanation": "explain",
    "FastDAGError": "errors",
    "Graph": "_core",
    "Manager": "manager",
    "PlanError": "errors",
    "Requirement": "status",
    "RunResult": "runner.tasks",
    "SameStatusError": "errors",
    "ServiceError": "errors",
    "ServiceNotFoundError": "errors",
    "Stall": "explain",
    "Status": "status",
    "StatusRequiredError": "errors",
    "Subscription": "subscribers",
    "TaskNotRunError": "errors",
    "TopologicalSorter": "graphlib",
    "Unit": "units",
    "UnitAlreadyRegisteredError": "errors",
    "UnitIdRequiredError": "errors",
    "UnitNotFoundError": "errors",
    "VertexNotFoundError": "errors",
    "WaitTimeoutError": "errors",
    "run": "runner.tasks",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """Load a public name, or a submodule that is asked for by attribute, on first use."""
    import importlib  # noqa: PLC0415

    if name in _HOMES:
        value: object = getattr(importlib.import_module(f"fastdag.{_HOMES[name]}"), name)
    elif name in _HOMES.values():
        value = importlib.import_module(f"fastdag.{name}")
    else:
        raise AttributeError(f"module 'fastdag' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
