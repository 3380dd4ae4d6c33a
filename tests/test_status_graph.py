"""StatusGraph where Manager cannot reach it: what callers of the core may do in the middle of a call."""

from fastdag._core import StatusGraph

PENDING, COMPLETED = 0, 2
NEEDS = "completed"


class Meddler(str):
    """A name whose hash runs code of its own, once."""

    __slots__ = ("meddle",)
    meddle: object

    def __hash__(self) -> int:
        meddle, self.meddle = getattr(self, "meddle", None), None
        if callable(meddle):
            meddle()
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)


def test_dependents_that_come_between_the_look_up_and_the_change_are_reported():
    graph: StatusGraph[str] = StatusGraph()
    graph.define_requirement(NEEDS, 1 << COMPLETED, 0)
    graph.register("hub", PENDING)
    last = Meddler("last")
    graph.register(last, PENDING)
    names = [f"dependent {i}" for i in range(100)]

    def meddle():
        for name in names:
            graph.register(name, PENDING)
            assert graph.add_dependency(name, "hub", NEEDS) == 0

    last.meddle = meddle
    flips: list[tuple[str, int]] = []
    assert graph.set_statuses(["hub", last], COMPLETED, flips) == [PENDING, PENDING]
    assert flips == [(name, 1) for name in names]
    graph._check()
