"""What `/metrics` tells, in Prometheus' text format.

BentoML's own middleware, which is switched off, makes series of every path that anybody asks for, before any token is
looked at, and keeps them for good. Here the labels come from fixed sets: our routes, statuses, and served models.
"""

import time
import warnings
from importlib import import_module
from typing import Any

from airloom_serving.front import ROUTES
from airloom_serving.security import App, Receive, Scope, Send

OTHER = "other"  # stands for any path that is none of ours
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of this process, in a registry of their own."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # It hands prometheus_client through once the worker has set it up, and advises that very package.
            warnings.simplefilter("ignore", DeprecationWarning)
            prometheus: Any = import_module("bentoml.metrics")
            counter, histogram = prometheus.Counter, prometheus.Histogram
            self._text, self._registry = prometheus.generate_latest, prometheus.CollectorRegistry()

        def make(kind: Any, name: str, text: str, labels: list[str], **more: Any) -> Any:
            return kind(f"airloom_{name}", text, labels, registry=self._registry, **more)

        self._requests = make(counter, "requests", "Requests by route and status.", ["route", "status"])
        self._seconds = make(histogram, "request_seconds", "Seconds of a request.", ["route"], buckets=SECONDS)
        of_model = ["model", "version"]
        self.predictions = make(counter, "predictions", "Answered instances.", of_model)
        self.not_finite = make(counter, "not_finite", "Requests whose answer was NaN or infinite.", of_model)
        self.outside = make(
            counter, "outside", "Instances with a value beyond what was observed in training.", of_model
        )

    def text(self) -> bytes:
        """All of them."""
        return bytes(self._text(self._registry))

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


class Measured:
    """ASGI middleware: counts the requests of each route; those for any other path stand under one name.

    Args:
        app: what is measured.
        metrics: where it is counted.
    """

    def __init__(self, app: App, metrics: Metrics) -> None:
        self.app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer, and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def watched(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            route = scope["path"] if scope["path"] in ROUTES else OTHER
            self._metrics.request(route, status, time.perf_counter() - began)
