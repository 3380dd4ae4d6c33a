"""Figures in Prometheus's format, through its client library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest
from prometheus_client import Counter as CounterMetric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fastdag.service.state import Service


class Metrics:
    """What one service counts, and what is read off it when somebody asks."""

    def __init__(self, service: Service) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._requests = CounterMetric(
            "fastdag_requests", "Requests answered.", ["call", "code"], registry=self._registry
        )
        self._seconds = Histogram(
            "fastdag_request_seconds",
            "From a request's headers to its answer; for calls that wait, the wait included.",
            ["call"],
            buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 10, 60, 300),
            registry=self._registry,
        )
        self._registry.register(_State(service))

    def answered(self, call: str, code: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(call, str(code)).inc()
        self._seconds.labels(call).observe(seconds)

    def text(self) -> bytes:
        """Give all figures. O(units)."""
        return generate_latest(self._registry)


class _State(Collector):
    """What is read off the service when somebody asks."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        service = self._service
        units = GaugeMetricFamily("fastdag_units", "Registered units.", labels=["status"])
        for status, number in sorted(Counter(unit.status for unit in service.manager.units()).items()):
            units.add_metric([status], number)
        yield units
        yield GaugeMetricFamily("fastdag_waiters", "Calls that wait for a unit.", value=service.waiters)
        yield GaugeMetricFamily("fastdag_streams", "Streams of events that are followed.", value=service.streams)
        yield CounterMetricFamily("fastdag_events", "Events of units and dependencies.", value=service.history.last)
        contended = CounterMetricFamily(
            "fastdag_lock_contended", "Acquisitions of the core's locks that had to wait.", labels=["lock"]
        )
        waited = CounterMetricFamily(
            "fastdag_lock_wait_seconds", "Time spent waiting for the core's locks.", labels=["lock"]
        )
        longest = GaugeMetricFamily(
            "fastdag_lock_longest_wait_seconds", "The longest wait for one of the core's locks.", labels=["lock"]
        )
        for lock, stats in service.manager.lock_stats().items():
            contended.add_metric([lock], stats["contended"])
            waited.add_metric([lock], stats["wait_ns"] / 1e9)
            longest.add_metric([lock], stats["longest_ns"] / 1e9)
        yield from (contended, waited, longest)
