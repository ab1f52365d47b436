"""What the service counts, in Prometheus' form."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from llmrec.errors import require

__all__ = ["Metrics"]

_COUNTS: Final = "PROMETHEUS_MULTIPROC_DIR"  # set where several processes are counted together
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counters of one service, in a registry of their own."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        """
        Args:
            waiting: How many requests wait to be worked on, now.
        """
        prometheus = require("prometheus_client", "serve")
        self._registry = registry = prometheus.CollectorRegistry()
        self._write = prometheus.generate_latest
        self.content_type = prometheus.CONTENT_TYPE_LATEST
        self._requests = prometheus.Counter(
            "llmrec_requests", "Requests by route and status.", ("route", "status"), registry=registry
        )
        self._seconds = prometheus.Histogram(
            "llmrec_request_seconds", "Seconds from request to answer.", ("route",), buckets=_SECONDS, registry=registry
        )
        self._batch = prometheus.Histogram(
            "llmrec_batch_size", "Requests worked on at once.", ("kind",), buckets=_SIZES, registry=registry
        )
        self._items = prometheus.Counter("llmrec_items", "Items of sessions.", registry=registry)
        self._unknown = prometheus.Counter(
            "llmrec_unknown_items", "Items of sessions that the ranker does not know.", registry=registry
        )
        self._swaps = prometheus.Counter("llmrec_swaps", "Models loaded anew.", ("outcome",), registry=registry)
        self._waiting, self._loaded_at = waiting, time.time()
        self._queue = prometheus.Gauge(
            "llmrec_queue", "Requests that wait.", multiprocess_mode="livesum", registry=registry
        )
        self._age = prometheus.Gauge(
            "llmrec_catalogue_age_seconds",
            "Seconds since the models in use were loaded.",
            multiprocess_mode="livemax",
            registry=registry,
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batched(self, kind: str) -> Callable[[int], None]:
        """What counts the batches of a kind."""
        sizes = self._batch.labels(kind)
        return lambda size: sizes.observe(size)

    def looked_up(self, items: int, unknown: int) -> None:
        """Count the items of a session."""
        self._items.inc(items)
        self._unknown.inc(unknown)

    def swapped(self, outcome: str) -> None:
        """Count models that were loaded anew, or could not be."""
        self._swaps.labels(outcome).inc()
        if outcome == "done":
            self._loaded_at = time.time()

    def refresh(self) -> None:
        """Write down what changes by itself, for other processes to read."""
        self._queue.set(self._waiting())
        self._age.set(time.time() - self._loaded_at)

    def text(self) -> bytes:
        """All of it, as `/metrics` gives it; of several processes the sum."""
        self.refresh()
        registry = self._registry
        if _COUNTS in os.environ:
            from prometheus_client import CollectorRegistry, multiprocess

            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        written: bytes = self._write(registry)
        return written
