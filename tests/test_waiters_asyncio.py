"""asyncio: waiting for units and iterating over events, beside threads that make the changes."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
from manager_support import DEADLINE, at_once

from fastdag import DependencyFailedError, Manager, Status, UnitIdRequiredError


@pytest.fixture
def manager():
    manager = Manager()
    manager.register_all(["A", "B"])
    manager.add_dependency("A", "B")
    return manager


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, DEADLINE))


def in_thread(function):
    return asyncio.get_running_loop().run_in_executor(None, function)


def test_waiting_for_a_thread(manager):
    async def main():
        waiting = [asyncio.create_task(manager.wait_ready_async("A")) for _ in range(20)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        await in_thread(lambda: manager.update_status("B", Status.COMPLETED))
        assert await asyncio.gather(*waiting) == [None] * 20
        await manager.wait_ready_async("A")

    run(main())
    assert manager._waiters.dispatch.waiting == {}


def test_waiting_for_a_task_of_the_same_loop(manager):
    async def main():
        waiting = asyncio.create_task(manager.wait_ready_async("A"))
        await asyncio.sleep(0)
        manager.update_status("B", Status.COMPLETED)
        await waiting

    run(main())


def test_a_blocked_unit(manager):
    async def main():
        waiting = asyncio.create_task(manager.wait_ready_async("A"))
        await asyncio.sleep(0)
        manager.update_status("B", Status.FAILED)
        with pytest.raises(DependencyFailedError, match="'B' is failed"):
            await waiting
        with pytest.raises(DependencyFailedError):
            await manager.wait_ready_async("A")
        with pytest.raises(UnitIdRequiredError):
            await manager.wait_ready_async("")

    run(main())


def test_a_cancelled_task_is_forgotten(manager):
    async def main():
        waiting = asyncio.create_task(manager.wait_ready_async("A"))
        await asyncio.sleep(0)
        assert manager._waiters.dispatch.waiting
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert manager._waiters.dispatch.waiting == {}
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await manager.wait_ready_async("A")
        assert manager._waiters.dispatch.waiting == {}

    run(main())


def test_nothing_polls(manager):
    """While tasks wait the loop rests: it sets no timer and turns no round until the event comes."""

    class Loop(asyncio.SelectorEventLoop):
        rounds = 0
        timers = 0

        def _run_once(self):
            self.rounds += 1
            super()._run_once()

        def call_at(self, *args, **kwargs):
            self.timers += 1
            return super().call_at(*args, **kwargs)

    async def main():
        stream = manager.events()
        waiting = [asyncio.create_task(manager.wait_ready_async("A")), asyncio.create_task(anext(stream))]
        resting = threading.Event()
        counts = []

        def change():
            assert resting.wait(DEADLINE)
            threading.Event().wait(0.05)  # let the loop go to rest
            counts.append(loop.rounds)
            threading.Event().wait(0.2)
            counts.append(loop.rounds)
            manager.update_status("B", Status.COMPLETED)

        thread = threading.Thread(target=change, daemon=True)
        thread.start()
        await asyncio.sleep(0)
        resting.set()
        assert (await asyncio.gather(*waiting))[1].kind == "status"
        await stream.aclose()
        thread.join(DEADLINE)
        assert counts[0] == counts[1]

    loop = Loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert loop.timers == 0


def test_events_from_the_call_on(manager):
    async def main():
        stream = manager.events()
        manager.register("C")  # before the first read
        await in_thread(lambda: manager.update_status("B", Status.COMPLETED))
        heard = []
        async for event in stream:
            heard.append((event.kind, event.unit, event.new))
            if event.unit == "A":
                break
        await stream.aclose()
        assert heard == [
            ("registered", "C", "pending"),
            ("state", "C", "ready"),
            ("status", "B", "completed"),
            ("state", "A", "ready"),
        ]
        assert not manager._delivery._subscriptions

    run(main())


def test_events_of_a_unit_and_of_a_kind(manager):
    async def main():
        async with manager.events("A", "status") as stream:
            manager.register("X")
            for unit in ("X", "B", "A"):
                manager.update_status(unit, Status.STARTED)
            assert [(await anext(stream)).unit for _ in range(2)] == ["B", "A"]
        with pytest.raises(ValueError, match="no events are of the kind 'odd'"):
            manager.events(kinds=["odd"])
        assert not manager._delivery._subscriptions

    run(main())


def test_closing_ends_the_iteration_of_another_task(manager):
    async def main():
        stream = manager.events()
        heard, enough = [], asyncio.Event()

        async def read():
            async for event in stream:
                heard.append(event)
                if len(heard) == 2:
                    enough.set()

        task = asyncio.create_task(read())
        manager.register("C")
        await enough.wait()
        for _ in range(5):
            await asyncio.sleep(0)  # now it waits for more
        await stream.aclose()
        await task
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        manager.register("D")
        assert len(heard) == 2

    run(main())


def test_unread_events_are_dropped_on_closing(manager):
    async def main():
        async with manager.events() as stream:
            manager.register("C")
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    run(main())


def test_a_closed_loop_cancels_the_subscription(manager):
    streams = []

    async def main():
        streams.append(manager.events())
        manager.register("C")

    run(main())
    assert manager._delivery._subscriptions
    manager.register("D")
    manager.register("E")
    assert not manager._delivery._subscriptions


def test_an_abandoned_stream_unsubscribes_itself(manager):
    async def main():
        async for _ in manager.events():
            break
        gc.collect()
        assert not manager._delivery._subscriptions

    threading.Timer(0.05, manager.register, ("C",)).start()
    run(main())


def test_events_need_a_loop(manager):
    with pytest.raises(RuntimeError, match="no running event loop"):
        manager.events()
    assert not manager._delivery._subscriptions


def test_every_event_arrives_once_and_in_order(manager):
    heard, expected = [], []

    async def main():
        streams = [manager.events(kinds="registered") for _ in range(3)]
        manager.subscribe(expected.append, kinds="registered")

        async def read(stream):
            return [await anext(stream) for _ in range(2_000)]

        def change(name):
            for i in range(500):
                manager.register(f"{name}{i}")

        threads = in_thread(lambda: at_once(*(lambda name=name: change(name) for name in "wxyz")))
        heard.extend(await asyncio.gather(*map(read, streams)))
        await threads
        for stream in streams:
            await stream.aclose()

    run(main())
    assert heard[0] == heard[1] == heard[2] == expected
    assert len({event.unit for event in expected}) == 2_000


def test_threads_and_tasks_at_once(manager):
    """A chain that is completed alternately by threads and by tasks."""
    units = [str(i) for i in range(60)]
    manager.register_all(units)
    manager.add_dependencies(zip(units[1:], units, strict=False))

    def in_a_thread(unit):
        manager.wait_ready(unit, DEADLINE)
        manager.update_status(unit, Status.COMPLETED)

    async def in_a_task(unit):
        await manager.wait_ready_async(unit)
        manager.update_status(unit, Status.COMPLETED)

    async def main():
        threads = in_thread(lambda: at_once(*(lambda unit=unit: in_a_thread(unit) for unit in units[::2])))
        await asyncio.gather(threads, *(in_a_task(unit) for unit in units[1::2]))

    run(main())
    assert all(manager.unit(unit).status == "completed" for unit in units)


def test_a_stream_that_could_not_be_woken_is_woken_for_the_next_event(manager, monkeypatch):
    async def main():
        async with manager.events(kinds="status") as stream:
            loop = asyncio.get_running_loop()
            reading = asyncio.create_task(anext(stream))
            await asyncio.sleep(0)

            def no_memory(*_):
                raise MemoryError

            with monkeypatch.context() as patched:
                patched.setattr(loop, "call_soon_threadsafe", no_memory)
                manager.update_status("B", "one")
            await asyncio.sleep(0)
            assert not reading.done()
            manager.update_status("B", "two")
            assert [(await reading).new, (await anext(stream)).new] == ["one", "two"]

    run(main())


def test_a_stream_for_which_memory_runs_out_leaves_no_subscription(manager, monkeypatch):
    async def main():
        def no_memory(*_):
            raise MemoryError

        monkeypatch.setattr("weakref.finalize", no_memory)
        with pytest.raises(MemoryError):
            manager.events()

    run(main())
    assert not manager._delivery._subscriptions
