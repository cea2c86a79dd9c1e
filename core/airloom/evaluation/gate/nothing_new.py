"""A run whose trained model is the champion already: nothing is compared with itself, and nothing is promoted."""

import hashlib
import json

from airloom.contracts import Decision, RunContext
from airloom.evaluation.gate import page
from airloom.registry import models
from airloom.settings import Settings
from airloom.spec.load import definition, digest
from airloom.tracking import runs, titles
from airloom.tracking.tags import Tag

EVIDENCE = "gate/evidence.json"
PAGE = "gate/evidence.html"
OUTCOME = "nothing new"


def look(settings: Settings, ctx: RunContext, uri: str, digests: dict[str, str] | None = None) -> Decision | None:
    """The decision on a candidate that is the champion, with its evidence in the MLflow run; None for any other one.

    No try on the test split is spent.

    Args:
        settings: of this installation.
        ctx: of the pipeline run.
        uri: of the candidate.
        digests: of its files; None: its address says enough.

    Raises:
        RegistryError: MLflow does not answer.
    """
    client = runs.client(settings)
    with runs.connection_errors(settings):
        version = models.champion_itself(client, ctx, uri, digests)
        if not version:
            return None
        reasons = [f"NOTHING NEW: the trained model is {ctx.pipeline}/{version}, the champion; it is not judged again"]
        evidence = {
            "passed": False,
            "nothing_new": True,
            "reasons": reasons,
            "candidates": [uri],
            "champion_version": version,
            "definition_sha256": digest(definition(ctx)),
        }
        text = json.dumps(evidence, indent=1)
        client.log_text(ctx.mlflow_run, text, EVIDENCE)
        client.log_text(ctx.mlflow_run, page.without_news(reasons), PAGE)
        client.set_tag(ctx.mlflow_run, Tag.GATE, OUTCOME)
        client.set_tag(ctx.mlflow_run, Tag.NOTE, titles.described(ctx.key, reasons, [PAGE]))
    return Decision(False, reasons, EVIDENCE, None, hashlib.sha256(text.encode()).hexdigest(), nothing_new=True)
