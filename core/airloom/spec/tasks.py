"""What `task:` of a pipeline file may say, and the metrics of each task: names; `airloom.tasks` computes them."""

import re

_AT = re.compile(r"recall_at_precision_(0?\.\d+|1(\.0+)?)")
RANKS = ("auc", "average_precision")  # and recall_at_precision_0.9
# By task: the means over rows, then the metrics of all rows.
METRICS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "classification": (("accuracy", "log_loss"), ("macro_f1", *RANKS)),
    "multilabel": (("exact_match", "label_accuracy", "log_loss"), ("macro_f1", "micro_f1", *RANKS)),
    "regression": (("mae", "mse"), ("rmse", "r2")),
    "segmentation": (("pixel_accuracy", "log_loss"), ("mean_iou", "mean_dice")),
    "tokens": (("token_accuracy", "log_loss"), ("macro_f1",)),
    "language_model": (("log_loss",), ("perplexity",)),
    "embedding": (("nearest_is_same", "log_loss"), ()),
    "custom": ((), ()),
}
GUESSED = ("classification", "regression")  # without `task:`, by the labels
SHARES = {"accuracy", "exact_match", "label_accuracy", "pixel_accuracy", "token_accuracy", "nearest_is_same"}
SHARES |= {"macro_f1", "micro_f1", "mean_iou", "mean_dice", *RANKS}


def precision_of(metric: str) -> float | None:
    """The precision in a name like `recall_at_precision_0.9`; None where it is no such name."""
    found = _AT.fullmatch(metric)
    return float(found[1]) if found else None


def is_share(metric: str) -> bool:
    """Whether a metric lies between 0 and 1."""
    return metric in SHARES or precision_of(metric) is not None


def added(metric: str) -> bool:
    """Whether it is a metric of all rows that an evaluation measures only where somebody asks for it."""
    wholes = {name for _, wholes in METRICS.values() for name in wholes} - {"rmse", "r2"}
    return metric in wholes or precision_of(metric) is not None


def known(task: str) -> list[str]:
    """The metrics that the gate can compare for a task, by its name; "" is a file without `task`."""
    names = [name for one in ([task] if task else GUESSED) for part in METRICS[one] for name in part]
    ranked = ["recall_at_precision_0.9"] if "auc" in names else []
    return [*dict.fromkeys(names), *ranked]


def has(task: str, metric: str) -> bool:
    """Whether a task has a metric."""
    names = known(task)
    return metric in names or ("auc" in names and precision_of(metric) is not None)
