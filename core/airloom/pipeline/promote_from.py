"""`airloom model promote-from`: a version of another installation, through this one's gate, to this one's model."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airloom.contracts import Decision, Evaluation, Record, RunContext, Snapshot, TrainedModel
from airloom.deployment import record
from airloom.errors import JobFailed, RegistryError
from airloom.names import RunKey, owner_of, shown_model
from airloom.pipeline.run import DEPLOYED, REGISTERED, find_file, finish, one_at_a_time
from airloom.pipeline.steps import evaluate, promote
from airloom.pipeline.steps.resolve import fix
from airloom.pipeline.steps.submit import LogLine, run_step
from airloom.registry import models
from airloom.registry.take_over import take_over, training_of
from airloom.settings import Settings
from airloom.spec.load import definition, load_pipeline
from airloom.spec.pipeline import Pipeline
from airloom.tracking import runs
from airloom.tracking.ending import ending
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class Override(Record):
    """A person's word over a refusal; both or none."""

    by: str = ""
    reason: str = ""


@dataclass(frozen=True)
class TakenOver(Record):
    """What came of it.

    Attributes:
        source: the version of the other installation, as it is called in MLflow.
        model: of this installation.
        version: that it is here; empty where the gate refused it.
        passed: whether the gate let it through.
        reasons: of the gate, a line each.
        override: by, reason, at: a person let it through in spite of them.
        key: of the run that judged it.
        run: its MLflow run, which has the evidence.
        deployment: what should serve now; empty where it was not promoted.
    """

    source: str
    model: str
    version: str
    passed: bool
    reasons: list[str]
    key: str
    run: str
    override: dict[str, str] = field(default_factory=dict)
    deployment: dict[str, Any] = field(default_factory=dict)


def promote_from(
    settings: Settings,
    reference: str,
    log_line: LogLine,
    *,
    pipeline: str = "",
    version: int | None = None,
    override: Override | None = None,
    deploy: bool = True,
) -> TakenOver:
    """Judge another installation's version by this one's gate; register and promote what passes.

    Args:
        settings: of this installation.
        reference: the version: `development.digits/3`, `development.digits@champion`.
        log_line: gets each line of progress.
        pipeline: of this installation, whose gate decides and whose model it becomes; default: the one of that name.
        version: of the dataset that both are asked; None for the newest.
        override: who lets it through in spite of a refusal, and why; `gate.override: ask` must allow it.
        deploy: whether to make it the champion, or to register it only.

    Raises:
        RegistryError: there is no such version, it is this installation's own, or its files are gone.
        CorruptFile: a file of it differs from its digest.
        GateError: the gate knows no overrides.
        ConfigError: there is no such pipeline here, or it has no gate.
    """
    foreign = _foreign(settings, reference)
    source = f"{foreign.name}/{foreign.version}"
    file = find_file(settings, pipeline or foreign.name.rpartition(".")[2])
    policy = load_pipeline(file)
    policy.policy  # noqa: B018 - before anything is made
    name = policy.pipeline
    if (already := _serving(settings, name, source)) is not None:
        return already
    key = _key(settings, policy, foreign, version)
    with one_at_a_time(settings, key, log_line):
        log_line(f"{source} is judged as run {key}")
        context = fix(settings, file, key, version, trains=False)
        with ending(settings, context):
            trained = take_over(settings, context, foreign)
            log_line(f"{source}: its files have their digests, and the checker has asked it")
            evaluation, decision = _judge(settings, context, foreign, trained, log_line)
            for reason in decision.reasons:
                log_line(f"gate: {reason}")
            if override and not decision.passed:
                decision = _overridden(settings, context, decision, override)
            outcome = REGISTERED
            result = TakenOver(source, name, "", decision.passed, decision.reasons, key, context.mlflow_run)
            if decision.promotes:
                registered = promote.register(settings, context, trained, evaluation, decision)
                result = result.with_(version=registered.version, override=decision.override)
                if deploy:
                    begun = promote.begin_deployment(settings, context, registered).to_dict()
                    ended = promote.end_deployment(settings, registered, begun, log_line)
                    outcome = DEPLOYED if ended.promoted else ended.outcome
                    log_line(f"{name}/{registered.version}: {ended}")
                    result = result.with_(deployment=ended.deployment)
            finish(settings, context, decision, outcome=outcome)
    return result


def _foreign(settings: Settings, reference: str) -> "ModelVersion":
    found = models.find(settings, reference)
    if owner_of(found.name) == settings.installation:
        hint = f"`airloom model promote {reference}` promotes it"
        raise RegistryError(f"{reference} is of this installation itself", hint)
    models.deployable(settings, found.name, str(found.version))
    return found


def _serving(settings: Settings, model: str, source: str) -> TakenOver | None:
    """What it came to where the champion is this very version already; else None."""
    client = runs.client(settings)
    with runs.connection_errors(settings):
        champion = models.champion(client, settings.registered(model))
    if champion is None or champion.tags.get(Tag.FROM) != source:
        return None
    tags, override = champion.tags, json.loads(champion.tags.get(Tag.OVERRIDE, "{}"))
    reasons, desired = tags.get(Tag.GATE, "").split("; "), record.current(settings, model).to_dict()
    run = tags.get(Tag.PIPELINE_RUN, ""), tags.get(Tag.RUN, "")
    return TakenOver(source, model, str(champion.version), not override, reasons, *run, override, desired)


def _key(settings: Settings, pipeline: Pipeline, foreign: "ModelVersion", version: int | None) -> str:
    """The same for the same question: who asks again, after a kill too, goes on with what was done.

    Another champion, or newer data, is another question.
    """
    from airloom.datasets import versions

    number = versions.latest(settings, pipeline.dataset.name).number if version is None else version
    client = runs.client(settings)
    with runs.connection_errors(settings):
        champion = models.champion(client, settings.registered(pipeline.pipeline))
    against = champion.version if champion is not None else "none"
    run = f"from__{foreign.name}-{foreign.version}__on_v{number}__against_{against}"
    return str(RunKey(pipeline.pipeline, run, installation=settings.installation))


def _judge(
    settings: Settings, context: RunContext, foreign: "ModelVersion", trained: TrainedModel, log_line: LogLine
) -> tuple[Evaluation, Decision]:
    """Evaluate both on the same rows and ask the gate; where the rows are no evidence, that is one more refusal."""
    try:
        evaluated = run_step(
            settings, context, evaluate.STEP, {"trained": trained.to_dict()}, _said(log_line, "evaluate")
        )
        evaluation = Evaluation.from_dict(evaluated)
        decided = run_step(settings, context, promote.GATE, {"evaluation": evaluated}, _said(log_line, "gate"))
        gate = Decision.from_dict(decided)
    except JobFailed as error:
        reason = f"REFUSED: it could not be evaluated: {error.message}"
        evaluation, gate = Evaluation({}, "", {}, "", 0), Decision(False, [reason], "", None)
    if problem := incomparable(settings, foreign, context.snapshot):
        gate = gate.with_(passed=False, reasons=[f"REFUSED: {problem}", *gate.reasons])
    if not gate.passed:
        with runs.connection_errors(settings):
            runs.client(settings).set_tag(context.mlflow_run, Tag.GATE, "refused")
    return evaluation, gate


def incomparable(settings: Settings, foreign: "ModelVersion", snapshot: Snapshot) -> str:
    """Why this installation's test rows are no evidence for a version; empty where they are.

    They are where it was trained on a version of this very dataset, split alike: a row that it has learned is then
    none of them.

    Args:
        settings: of this installation.
        foreign: the version.
        snapshot: with the test rows.
    """
    from airloom.datasets import versions

    record = training_of(settings, foreign).data.tags.get(Tag.SNAPSHOT_RECORD)
    if record is None:
        return "nothing says which rows it was trained on, so it may have learned the test rows"
    learned = Snapshot.from_dict(json.loads(record))
    if learned.dataset != snapshot.dataset:
        return f"it was trained on {learned.version_name}, and is judged on {snapshot.version_name}: other rows"
    if learned.split != snapshot.split:
        return f"it was trained on a split {learned.split}, here it is {snapshot.split}: it may have learned test rows"
    if learned.by != snapshot.by:
        return f"it was trained on a split published {learned.by or 'nowhere'}, here {snapshot.by or 'nowhere'}"
    known = {version.id for version, _ in versions.history(settings, snapshot.dataset)}
    if learned.version_id not in known:
        return f"its {learned.version_name} (id {learned.version_id[:12]}) is no version of {snapshot.dataset} here"
    return ""


def _overridden(settings: Settings, context: RunContext, decision: Decision, override: Override) -> Decision:
    from airloom.evaluation.gate.override import override as let_through

    now = datetime.now(UTC).isoformat(timespec="seconds")
    policy = definition(context).policy
    return let_through(settings, policy, context, decision, by=override.by, reason=override.reason, at=now)


def _said(log_line: LogLine, step: str) -> LogLine:
    return lambda line: log_line(f"{step}: {line}")


def render(result: TakenOver, own: str) -> str:
    """For people.

    Args:
        result: what came of it.
        own: the installation.
    """
    source = shown_model(result.source, own)
    if not result.version:
        return f"{source} is refused; the evidence is in MLflow run {result.run}"
    over = f", let through by {result.override['by']}: {result.override['reason']}" if result.override else ""
    champion = ", and is the champion" if result.deployment else ""
    return f"{source} is {result.model}/{result.version} here{champion}{over}"
