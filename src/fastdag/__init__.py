"""fastdag: a live, thread-safe dependency graph, and a manager of units that depend on one another."""

from fastdag._core import Graph
from fastdag.edge import Edge
from fastdag.errors import (
    CapacityError,
    ConflictingRequirementError,
    CycleError,
    DependencyFailedError,
    EdgeNotFoundError,
    FastDAGError,
    SameStatusError,
    StatusRequiredError,
    UnitAlreadyRegisteredError,
    UnitIdRequiredError,
    UnitNotFoundError,
    VertexNotFoundError,
)
from fastdag.events import Event
from fastdag.explain import Explanation, Stall
from fastdag.graphlib import TopologicalSorter
from fastdag.manager import Manager
from fastdag.status import Requirement, Status
from fastdag.streams import EventStream
from fastdag.subscribers import Subscription
from fastdag.units import Dependency, Unit

__version__ = "0.1.0"

__all__ = [
    "CapacityError",
    "ConflictingRequirementError",
    "CycleError",
    "Dependency",
    "DependencyFailedError",
    "Edge",
    "EdgeNotFoundError",
    "Event",
    "EventStream",
    "Explanation",
    "FastDAGError",
    "Graph",
    "Manager",
    "Requirement",
    "SameStatusError",
    "Stall",
    "Status",
    "StatusRequiredError",
    "Subscription",
    "TopologicalSorter",
    "Unit",
    "UnitAlreadyRegisteredError",
    "UnitIdRequiredError",
    "UnitNotFoundError",
    "VertexNotFoundError",
]
