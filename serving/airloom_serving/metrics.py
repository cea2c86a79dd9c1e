"""What `/metrics` tells, in Prometheus' text format.

BentoML's own middleware, which is switched off, makes series of every path that anybody asks for, before any token is
looked at, and keeps them for good. Here the labels come from fixed sets: our routes, statuses, kinds of errors, and
models with the version and role in which they serve; the series of a version end when it serves no more.
Series with the name of a model are told to those only who may have it: it says who is a customer, and how busy.
"""

import time
import warnings
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from importlib import import_module
from typing import Any

from airloom_serving.access_log import REQUEST, AccessLog, names_of
from airloom_serving.asgi import App, Receive, Scope, Send
from airloom_serving.beside import Beside
from airloom_serving.routes import route_of
from airloom_serving.served import ServedModel

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of this process, in a registry of their own."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # It hands prometheus_client through once the worker has set it up, and advises that very package.
            warnings.simplefilter("ignore", DeprecationWarning)
            prometheus: Any = import_module("bentoml.metrics")
            counter, histogram, gauge = prometheus.Counter, prometheus.Histogram, prometheus.Gauge
            self._text = prometheus.generate_latest
            self._registry, self._of_models = prometheus.CollectorRegistry(), prometheus.CollectorRegistry()

        def make(kind: Any, name: str, text: str, labels: list[str], **more: Any) -> Any:
            registry = self._of_models if "model" in labels else self._registry
            return kind(f"airloom_{name}", text, labels, registry=registry, **more)

        self._requests = make(counter, "requests", "Requests by route and status.", ["route", "status"])
        self._seconds = make(histogram, "request_seconds", "Seconds of a request.", ["route"], buckets=SECONDS)
        self._bound: dict[tuple[str, int], Any] = {}
        self._answered: dict[tuple[str, str, str], Any] = {}
        self._asked: dict[tuple[str, str, str, str], Any] = {}
        self.log_written = make(counter, "log_written", "Rows of the prediction log that are in a file.", [])
        self.log_dropped = make(
            counter, "log_dropped", "Rows of it that were lost: no room in memory or on the disk.", []
        )
        of_model = ["model", "version"]
        self.predictions = make(counter, "predictions", "Answered instances.", of_model)
        self.not_finite = make(counter, "not_finite", "Requests whose answer was NaN or infinite.", of_model)
        self.outside = make(
            counter, "outside", "Instances with a value beyond what was observed in training.", of_model
        )
        of_role = [*of_model, "role"]
        self._model_requests = make(
            counter, "model_requests", "Requests by who was to answer, answered or not.", of_role
        )
        self._model_errors = make(
            counter, "model_errors", "Those of them that were not answered, by kind.", [*of_role, "kind"]
        )
        self._model_seconds = make(
            histogram, "model_seconds", "Seconds until a model's answer.", of_role, buckets=SECONDS
        )

        self._beside = make(
            gauge, "rollout", "What was counted of a candidate in its stage.", [*of_model, "role", "counted"]
        )

    def text(
        self,
        besides: Iterable[Beside] = (),
        serves: Callable[[str, str], bool] = lambda *_: True,
        *,
        whole: bool = True,
    ) -> bytes:
        """What is told.

        Args:
            besides: the candidates that stand beside a champion now.
            serves: whether a version of a model does; of others nothing is told any more.
            whole: whether series that name a model are told.
        """
        told = bytes(self._text(self._registry))
        if not whole:
            return told
        self._forget(serves)
        self._beside.clear()  # of a stage that is over nothing is told any more
        for beside in besides:
            for counted, number in beside.counts.to_dict().items():
                labels = beside.model.name, beside.model.version, beside.rollout.stage.role, counted
                self._beside.labels(*labels).set(number)
        return told + bytes(self._text(self._of_models))

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one."""
        counted = self._bound.get((route, status))
        if counted is None:  # looking a label up costs more than counting
            counted = self._requests.labels(route, str(status)).inc, self._seconds.labels(route).observe
            self._bound[route, status] = counted
        inc, observe = counted
        inc()
        observe(seconds)

    def asked(self, model: ServedModel, role: str, error: str) -> None:
        """Count a request of a model.

        Args:
            model: that was to answer.
            role: in which it was.
            error: a kind of `airloom.monitoring.metric_counts.ERRORS`; "": it was answered.
        """
        which = model.name, model.version, role, error
        counted = self._asked.get(which)
        if counted is None:
            counted = [self._model_requests.labels(*which[:3]).inc]
            counted += [self._model_errors.labels(*which).inc] if error else []
            self._asked[which] = counted
        for inc in counted:
            inc()

    def answered(self, model: ServedModel, role: str, rows: int, outside: int, seconds: float) -> None:
        """Count the answer to a request.

        Args:
            model: that answered.
            role: in which it was.
            rows: instances.
            outside: those of them that are beyond what was observed in training.
            seconds: that it took.
        """
        which = model.name, model.version, role
        counted = self._answered.get(which)
        if counted is None:
            of_version = (counter.labels(*which[:2]).inc for counter in (self.predictions, self.outside))
            counted = *of_version, self._model_seconds.labels(*which).observe
            self._answered[which] = counted
        counted[0](rows)
        if outside:
            counted[1](outside)
        counted[2](seconds)

    def _forget(self, serves: Callable[[str, str], bool]) -> None:
        """Drop the series of versions that serve no more: each would be told for good."""
        gone: list[tuple[Any, tuple[str, ...]]] = []
        for which in [which for which in list(self._answered) if not serves(*which[:2])]:
            del self._answered[which]
            gone += [(self.predictions, which[:2]), (self.outside, which[:2]), (self._model_seconds, which)]
        for asked in [asked for asked in list(self._asked) if not serves(*asked[:2])]:
            del self._asked[asked]
            gone += [(self._model_requests, asked[:3]), (self._model_errors, asked), (self.not_finite, asked[:2])]
        for metric, labels in gone:
            with suppress(KeyError):  # it has no such series, or no more
                metric.remove(*labels)


class Measured:
    """ASGI middleware: counts the requests of each route and gives each its id; those for any other path have one name.

    Args:
        app: what is measured.
        metrics: where it is counted.
    """

    def __init__(self, app: App, metrics: Metrics) -> None:
        self.app, self._metrics, self._log = app, metrics, AccessLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer, and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        request_id, trace = names_of(scope)
        REQUEST.set((request_id, trace))

        def watched(message: Any) -> Awaitable[None]:  # no coroutine of its own, for each of two messages
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            return send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            seconds = time.perf_counter() - began
            self._metrics.request(route_of(scope), status, seconds)
            self._log.add(scope, status, seconds, request_id, trace)
