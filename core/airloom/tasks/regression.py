"""One number, or several, for each row."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from airloom.errors import ConfigError, GateError
from airloom.processing import Processing
from airloom.tasks import metrics, whole
from airloom.tasks.base import Asked, Outputs, Task, first
from airloom.tasks.rows import Answered, Array, ModelAnswers

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.axes import Axes


class Regression(Task):
    """Labels are numbers, (n,) or several of a row, (n, k); the model answers with as many."""

    name: ClassVar[str] = "regression"
    unlabelled: ClassVar[bool] = False

    def check(self, label: "pa.Field | None") -> None:
        """See `Task`."""
        import pyarrow as pa

        super().check(label)
        kind = None if label is None else label.type
        while kind is not None and pa.types.is_fixed_size_list(kind):
            kind = kind.value_type
        if label is not None and not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            message = f"task regression needs numbers as labels; {label.name!a} is {label.type}"
            raise ConfigError(message, "float64, or a list of the same length in each row; names are classification")

    def labels(self, stored: Any, rows: int) -> Any:
        """float64, (n,) or (n, k)."""
        super().labels(stored, rows)
        if not isinstance(stored, np.ndarray) or stored.dtype.kind not in "biuf":
            raise GateError("the test split has no labels of numbers or classes", "declare the label column")
        numbers = stored.reshape(rows, -1).astype(np.float64)
        if len(bad := np.flatnonzero(~np.isfinite(numbers).all(axis=1))):
            raise GateError(f"the label of test row {bad[0]} is no finite number", "leave such rows out")
        return numbers.reshape(rows) if stored.ndim == 1 else numbers

    def judge(self, outputs: Outputs, labels: Array, asked: Asked) -> ModelAnswers:
        """Numbers of the same shape; the loss is the squared error, its mean over several."""
        output = first(outputs)
        if output.size != labels.size:
            if labels.ndim > 1:
                message = f"the model's answers, shape {output.shape}, are not {labels.shape[1]} numbers of each row"
                raise GateError(f"{asked.model}: {message}", f"its last layer needs {labels.shape[1]} outputs")
            raise GateError(
                f"the model's answers, shape {output.shape}, are not one number for each of {len(labels)} rows"
            )
        predicted = output.reshape(labels.shape).astype(np.float64)
        error = (predicted - labels) ** 2
        return ModelAnswers(predicted, error if labels.ndim == 1 else error.mean(axis=1))

    @property
    def means(self) -> tuple[str, ...]:
        """See `Task`."""
        return ("mae", "mse")

    def merit(self, rows: Answered, metric: str) -> Array | None:
        """Minus the absolute or squared error; of several numbers its mean."""
        if metric not in self.means:
            return None
        error: Array = np.abs(rows.answers.predicted - rows.label)
        merit = -error if metric == "mae" else -error * error
        return merit if merit.ndim == 1 else merit.mean(axis=1)

    def metrics(self, rows: Answered) -> dict[str, float]:
        """Mean absolute and mean squared error, its root, and the share of the variance that is explained."""
        if rows.label.ndim == 1:
            return metrics.of_regression(rows.label, rows.answers.predicted)
        means = super().metrics(rows)
        shown = {name: measure.value(rows) for name in ("rmse", "r2") if means and (measure := self.whole(name))}
        return means | {name: value for name, value in shown.items() if np.isfinite(value)}

    def whole(self, metric: str) -> whole.Whole | None:
        """See `Task`."""
        if metric == "rmse":
            return whole.OfSums(lambda rows: np.stack([rows.answers.loss, np.ones(len(rows))], 1), _rmse)
        return whole.OfSums(_squares, _r2, _shown_r2) if metric == "r2" else None

    def answer(self, outputs: Outputs, processing: Processing, inputs: dict[str, Array]) -> list[Any]:  # noqa: ARG002
        """A number for each row, or a list of several."""
        output = first(outputs)
        return list((output.reshape(len(output)) if output.size == len(output) else output).tolist())

    def draw(self, rows: Answered) -> dict[str, Any]:
        """What is predicted, and how far beside the label."""
        return {"predicted.png": lambda axes: _predicted(axes, rows), "residuals.png": lambda axes: _rest(axes, rows)}


def _rmse(sums: Array) -> Array:
    return np.sqrt(sums[:, 0] / sums[:, 1])


def _squares(rows: Answered) -> Array:
    label, predicted = (values.reshape(len(rows), -1) for values in (rows.label, rows.answers.predicted))
    label = label - label.mean(axis=0)  # of large values with a small spread the difference of squares is rounding
    error = (predicted - rows.label.reshape(len(rows), -1)) ** 2
    return np.hstack([np.ones((len(rows), 1)), label, label**2, error])


def _r2(sums: Array) -> Array:
    """The mean over the numbers of 1 - squared errors / squared distances from the mean."""
    count, (total, squares, errors) = sums[:, :1], np.split(sums[:, 1:], 3, axis=1)
    spread = squares - total**2 / count
    return np.where(spread > 1e-12 * np.abs(squares), 1 - errors / spread, np.nan).mean(axis=1)  # type: ignore[no-any-return]


def _shown_r2(rows: Answered) -> float:
    from sklearn.metrics import r2_score

    flat = rows.label.reshape(len(rows), -1)
    if len(rows) < 2 or (flat == flat[0]).all(axis=0).any():
        return float("nan")
    return float(r2_score(flat, rows.answers.predicted.reshape(len(rows), -1)))


def _predicted(axes: "Axes", rows: Answered) -> None:
    label, predicted = rows.label.reshape(-1), rows.answers.predicted.reshape(-1)
    axes.scatter(label, predicted, s=6, alpha=0.5)
    ends = [min(label.min(), predicted.min()), max(label.max(), predicted.max())]
    axes.plot(ends, ends, color="gray", lw=0.8)
    axes.set(xlabel="label", ylabel="predicted")


def _rest(axes: "Axes", rows: Answered) -> None:
    axes.hist((rows.answers.predicted - rows.label).reshape(-1), bins=40)
    axes.set(xlabel="predicted minus label", ylabel="numbers" if rows.label.ndim > 1 else "rows")
