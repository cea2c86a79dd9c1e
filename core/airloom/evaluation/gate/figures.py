"""The picture on the gate's page: how candidate and champion differ, with the interval of the difference."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from airloom.evaluation.gate.decide import PairedComparison
from airloom.evaluation.figures import picture


def interval(comparison: "PairedComparison", margin: float, metric: str) -> bytes:
    """The gain of a comparison, its interval, and what it must not reach."""

    def paint(axes: "Axes") -> None:
        low, high = comparison.interval
        axes.errorbar(
            [comparison.effect],
            [0],
            xerr=[[comparison.effect - low], [high - comparison.effect]],
            fmt="o",
            capsize=6,
            color="tab:blue",
        )
        axes.axvline(0, color="gray", lw=0.8)
        axes.axvline(-margin, color="tab:red", ls="--", label=f"must be above {-margin:g}")
        axes.set(yticks=[], xlabel=f"gain in {metric} over the champion", title=f"at alpha {comparison.alpha:.4g}")
        axes.legend(loc="upper right", fontsize=8)

    return picture(paint, (6, 1.9))
