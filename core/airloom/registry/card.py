"""A model card (Mitchell et al. 2019) from evidence: each value names what measured it, or says what would.

Nothing is written by hand. What has no evidence stands as "not measured", with the command that measures it.
"""

import hashlib
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import AirloomError
from airloom.names import shown_model
from airloom.registry import models, python_models, signatures
from airloom.settings import Settings
from airloom.tracking import runs
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient

MARKDOWN, HTML = "card/card.md", "card/card.html"  # artifacts of the training run
PYTHON_LACKS = (
    "the model server and `deploy` refuse it, ONNX Runtime and MLflow's own clients cannot load it; it needs torch, "
    "the project's repository and what its code imports, and is slower"
)
NOT_MEASURED, NOT_JUDGED = "not measured", "not judged"


@dataclass(frozen=True)
class Fact:
    """One line: a value with its evidence, or without a value the command that would measure it.

    Attributes:
        name: what it is.
        value: as text; `NOT_MEASURED` where there is none, `NOT_JUDGED` where nobody decided.
        evidence: where it comes from, or the command.
        link: address of the evidence; empty where it has none.
    """

    name: str
    value: str
    evidence: str
    link: str = ""


@dataclass(frozen=True)
class Card:
    """Sections of facts."""

    title: str
    sections: dict[str, list[Fact]] = field(default_factory=dict)


@dataclass
class Sources:
    """Where the facts of one version come from.

    Attributes:
        settings: of this installation.
        name: of the model.
        version: its number; empty before it has one.
        tags: those of the version.
        run: tags of the training run.
        evidence: what the gate kept, or without one the evaluation; empty where that is gone, or another by now.
        experiment: of its runs in MLflow.
    """

    settings: Settings
    name: str
    version: str
    tags: dict[str, str]
    run: dict[str, str]
    evidence: dict[str, Any]
    experiment: str

    @property
    def model(self) -> str:
        """Its name as it is said here."""
        return shown_model(self.name, self.settings.installation)

    def tag(self, name: str) -> str:
        """A tag of the version, without its prefix."""
        return self.tags.get(f"airloom.{name}", "")

    @property
    def again(self) -> str:
        """The command that makes everything anew."""
        return f"airloom run {self.model}"

    def artifact(self, path: str, run: str = "") -> dict[str, str]:
        """Evidence and link of an artifact of the pipeline's run, or of another."""
        run = run or self.tag("run")
        base = self.settings.stack.get("mlflow_url", "")
        return {
            "evidence": f"run {run}: {path}" if path else f"run {run}",
            "link": f"{base}/#/experiments/{self.experiment}/runs/{run}/artifacts/{path}".rstrip("/") if base else "",
        }


def card(settings: Settings, name: str, version: str) -> Card:
    """The card of a registered version, from what is there now.

    Raises:
        RegistryError: there is no such version, or MLflow does not answer.
        SignatureRefused: no key that is trusted here signed it as it is.
    """
    registered = models.get_version(settings, name, version)
    signatures.check(settings, registered)
    client = runs.client(settings)
    with runs.connection_errors(settings):
        return compose(settings, client, name, str(registered.version), dict(registered.tags))


def compose(settings: Settings, client: "MlflowClient", name: str, version: str, tags: dict[str, str]) -> Card:
    """The card of a version that has these tags.

    Args:
        settings: of this installation.
        client: of MLflow.
        name: of the model.
        version: its number; empty before it has one.
        tags: those of the version.
    """
    run = client.get_run(tags[Tag.TRAIN_RUN])
    sources = Sources(settings, name, version, tags, dict(run.data.tags), {}, run.info.experiment_id)
    sources.evidence = _evidence(client, sources)
    return Card(
        f"{name} version {version}" if version else name,
        {
            "Model": _model(sources),
            "Inputs and outputs": _graph(sources),
            "Data": _data(sources),
            "Metrics on the test split": _metrics(sources),
            "Slices": _slices(sources),
            "Gate": _gate(sources),
            "Limits": _limits(sources),
            "Lineage": _lineage(sources),
        },
    )


def _evidence(client: "MlflowClient", sources: Sources) -> dict[str, Any]:
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory(prefix="airloom-card-") as folder:
        try:
            data = Path(client.download_artifacts(sources.tag("run"), sources.tag("evidence"), folder)).read_bytes()
        except (MlflowException, OSError):
            return {}
    if hashlib.sha256(data).hexdigest() != sources.tag("evidence.sha256"):
        return {}
    return dict(json.loads(data))


def _model(s: Sources) -> list[Fact]:
    trained = s.artifact("", s.tag("train_run"))
    digests = json.loads(s.tag("digests") or "{}")
    facts = [
        Fact("trained by", s.tag("code.function") or NOT_MEASURED, **s.artifact("source", s.tag("train_run"))),
        Fact("parameters", _pairs(json.loads(s.tag("parameters") or "{}")), **trained),
        Fact(
            "files", f"{len(digests)}, each with its sha256", f"airloom model show {s.model}/{s.version or 'VERSION'}"
        ),
    ]
    if python_models.is_python(s.tags):
        facts += [
            Fact("kept as", f"Python code of commit {s.tag('code.commit')[:12]}, and its weights: no graph", **trained),
            Fact("it lacks", PYTHON_LACKS, "docs/how-to/python-models.md"),
        ]
    task = s.evidence.get("task") or dict(s.evidence.get("definition", {})).get("task")
    if task:
        facts.insert(1, Fact("task", task, **s.artifact(s.tag("evidence"))))
    for name, one in json.loads(s.tag("pretrained") or "{}").items():
        facts.append(Fact(f"began with {name}", f"{one['found']}, sha256 {one['sha256']}", **trained))
    if collected := s.tag("collected"):
        facts.append(Fact("its files", f"were collected on {collected}", "airloom gc"))
    return facts


def _graph(s: Sources) -> list[Fact]:
    """Names, types and shapes, a dimension of any size by its name; and how far the graph was from torch."""
    graph, trained = json.loads(s.tag("graph") or "{}"), s.artifact("", s.tag("train_run"))
    if not graph:
        return [_missing("inputs and outputs", s.again)]
    ports = [(side, port.rpartition(": ")) for side in ("input", "output") for port in graph[f"{side}s"]]
    facts = [Fact(f"{side} {name}", what, **trained) for side, (name, _, what) in ports]
    facts.append(Fact("tolerance", f"{graph['rtol']:g} of the answers' size", **trained))
    found = {name: f"{value:.1e}" for name, value in graph["differences"].items()}
    told = _pairs(found) if found else "none: it was trained as ONNX, or came so"
    return [*facts, Fact("difference from torch, of the answers' size", told, **trained)]


def _data(s: Sources) -> list[Fact]:
    from airloom.datasets import versions

    name = s.tag("dataset")
    look = f"airloom dataset show {name}"
    facts = [Fact("dataset", f"{name}, id {s.tag('dataset.id')[:12]}", look)]
    try:
        version = versions.find(s.settings, name)
    except AirloomError as error:
        facts.append(Fact("the version", error.message, look))
    else:
        facts += [
            Fact("rows", f"{version.rows} of type {version.type}, label {version.label or 'none'}", look),
            Fact("said of it", f"{version.message} ({version.author}, {version.created})", look),
            Fact("source", version.source or "not said", look),
        ]
        if version.report:
            facts.append(Fact("validation", version.released or "passed", version.report))
    snapshot = json.loads(s.run.get(Tag.SNAPSHOT_RECORD, "{}"))
    if snapshot:
        chosen = ", ".join(snapshot.get("tags") or []) or "all rows"
        shown = f"airloom dataset fetch {snapshot['id']}"
        by = f", published by {snapshot['by']}" if snapshot.get("by") else ""
        facts.append(Fact("split", _pairs(snapshot.get("rows", {})) + by, shown))
        facts.append(Fact("chosen rows", chosen, shown))
        if twice := snapshot.get("repeated"):
            facts.append(Fact("inputs that an earlier split has too", f"rows of {_pairs(twice)}", shown))
    return facts


def _metrics(s: Sources) -> list[Fact]:
    metrics, champion = json.loads(s.tag("metrics") or "{}"), s.evidence.get("champion_metrics", {})
    measured = s.artifact("evaluation/metrics.json")
    if not metrics:
        return [_missing("metrics", s.again)]
    facts = []
    for name, value in metrics.items():
        before = f" (champion {s.evidence['champion_version']}: {_number(champion[name])})" if name in champion else ""
        facts.append(Fact(name, f"{_number(value)}{before}", **measured))
    if count := s.evidence.get("classes"):
        shown = sum(name.startswith("recall_") for name in metrics)
        what = (
            f"{count} classes; the {shown} that are told worst stand above" if shown < count else f"{count}, all above"
        )
        facts.append(Fact("classes", what, **s.artifact("evaluation/classes.csv")))
    return facts


def _slices(s: Sources) -> list[Fact]:
    slices = s.evidence.get("slices", {})
    if not slices:
        return [_missing("slices", f"add evaluate.slices to the pipeline file, then: {s.again}")]
    return [Fact(name, _pairs(part), **s.artifact(s.tag("evidence"))) for name, part in slices.items()]


def _gate(s: Sources) -> list[Fact]:
    page = s.artifact("gate/evidence.html")
    if not s.evidence:
        return [
            Fact("decision", s.tag("gate") or NOT_MEASURED, "the tag airloom.gate of the version"),
            _missing("evidence", f"the kept file is gone or another; {s.again}"),
        ]
    if not s.evidence.get("judged", True):
        return [Fact("decision", NOT_JUDGED, f"give the pipeline file a gate, then: {s.again}")]
    facts = [Fact(f"rule {number}", reason, **page) for number, reason in enumerate(s.evidence["reasons"], 1)]
    if tries := s.evidence.get("tries"):
        spent = f"{tries['first']} to {tries['last']}, alpha {tries['alpha']:.5f} of {tries['of']}"
        facts.append(Fact("try on this test split", spent, **page))
    compared = s.evidence.get("comparison")
    if compared:
        low, high = compared["interval"]
        facts.append(Fact("gain over the champion", f"{compared['effect']:+.5f} ({low:+.5f} to {high:+.5f})", **page))
        facts.append(Fact("power", _number(compared["power"]), **page))
    else:
        facts.append(_missing("gain over the champion", f"there was no champion; {s.again}"))
    if override := s.tag("override"):
        approval = json.loads(override)
        facts.append(
            Fact("let through by", f"{approval['by']}: {approval['reason']}", **s.artifact("gate/override.json"))
        )
    return facts


def _limits(s: Sources) -> list[Fact]:
    """What is known of its limits; what nobody measured is listed as one."""
    metrics, reference = json.loads(s.tag("metrics") or "{}"), f"{s.model}/{s.version or 'VERSION'}"
    measured = s.artifact("evaluation/metrics.json")
    rows = s.evidence.get("predictions", {}).get("rows")
    facts = [Fact("test rows", str(rows), **s.artifact(s.tag("evidence")))] if rows else []
    for name, unit in (("latency_ms", "ms, one row, on the machine that evaluated"), ("size_mb", "MB")):
        known = name in metrics
        facts.append(Fact(name, f"{_number(metrics[name])} {unit}", **measured) if known else _missing(name, s.again))
    slices = {name: part["rows"] for name, part in s.evidence.get("slices", {}).items() if "rows" in part}
    if slices:
        small = min(slices, key=lambda name: slices[name])
        facts.append(Fact("smallest slice", f"{small}: {slices[small]} rows", **s.artifact(s.tag("evidence"))))
    ended = s.run.get(Tag.ENDED, "")
    facts.append(
        Fact("the training ended", ended, **s.artifact("", s.tag("train_run")))
        if ended
        else _missing("the training ended", s.again)
    )
    return [*facts, _missing("reproducibility", f"airloom reproduce {reference}")]


def _lineage(s: Sources) -> list[Fact]:
    train = s.tag("train_run")
    dirty = ", with changes that are not committed" if s.tag("code.dirty") == "true" else ""
    missing = s.tag("code.untracked")
    dirty += f", and files that are in no commit: {missing[:300]}" if missing else ""
    commit = s.tag("code.commit")
    code = Fact("code", f"commit {commit[:12]}{dirty}", **s.artifact("source", train)) if commit else None
    environment = s.tag("environment")
    packages = s.artifact("environment/requirements.txt", train)
    return [
        Fact("pipeline run", s.tag("pipeline_run"), **s.artifact("")),
        Fact("training run", train, **s.artifact("", train)),
        Fact("study", s.tag("study") or "unknown", **s.artifact("")),
        Fact("snapshot", s.tag("snapshot"), f"airloom dataset fetch {s.tag('snapshot')}"),
        Fact("data commit", s.tag("dataset.commit"), f"airloom dataset log {s.tag('dataset').partition('@')[0]}"),
        code or _missing("code", "put the project under git, and train again"),
        Fact("sha256 of the function's file", s.tag("code.sha256") or "none", **s.artifact("source", train)),
        Fact("environment", environment[:12], **packages) if environment else _missing("environment", s.again),
        Fact("torch", s.tag("torch"), **s.artifact("", train)) if s.tag("torch") else _missing("torch", s.again),
        Fact("seed", s.tag("seed"), **s.artifact("", train)) if s.tag("seed") else _missing("seed", s.again),
    ]


def _missing(name: str, command: str) -> Fact:
    return Fact(name, NOT_MEASURED, command)


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_number(value)}" for name, value in values.items()) or "none"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
