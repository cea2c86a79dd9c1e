"""What a pipeline run is called in MLflow, and what stands at the top of its page: for a person, not for programs."""

from collections.abc import Mapping, Sequence

from airloom.tracking.tags import Tag

DOT = " · "
FOUND = "test_"  # before a metric that an evaluation found, in the name of MLflow's metric
GENERAL = ("accuracy", "macro_f1", "mean_iou", "auc", "mae", "mse", "perplexity", "log_loss")  # the first one is told


def begun(tags: Mapping[str, str]) -> str:
    """`digits@v3`; empty for a run that works on no dataset."""
    return tags.get(Tag.DATASET, "")


def ended(tags: Mapping[str, str], metrics: Mapping[str, float], outcome: str, metric: str = "") -> str:
    """`digits@v3 · accuracy 0.981 · deployed`; empty for a run that works on no dataset.

    Args:
        tags: of the run.
        metrics: of the run, as MLflow names them.
        outcome: how it ended.
        metric: the one to tell; empty for the best known of those that the evaluation found.
    """
    name = next((one for one in (metric, *GENERAL) if f"{FOUND}{one}" in metrics), "")
    told = [f"{name} {metrics[FOUND + name]:.3g}"] if name else []
    return DOT.join([begun(tags), *told, *([outcome] if outcome else [])]) if begun(tags) else ""


def described(key: str, reasons: Sequence[str], pages: Sequence[str] = ()) -> str:
    """The description of a run that was judged, in Markdown.

    Args:
        key: of the run; Airflow's run has the same name behind the pipeline's.
        reasons: of the gate, one a rule.
        pages: artifacts of the run that a person looks at next.
    """
    more = f"\n\nArtifacts: {', '.join(f'`{page}`' for page in pages)}" if pages else ""
    return "\n".join(f"- {reason}" for reason in reasons) + f"{more}\n\nRun `{key}`"
