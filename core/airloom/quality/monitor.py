"""One look at a champion: the signs that labels, the prediction log and an estimate give, and the decision on them."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airloom.errors import ConfigError, DataAway, DataError, RegistryError
from airloom.monitoring import decision, decisions
from airloom.monitoring.decision import ALERT, DRIFT, ESTIMATE, FAULT, METRIC, Limits, Signal, Subject
from airloom.monitoring.decisions import Look, RecordedDecision
from airloom.names import DatasetName, ModelName, RunKey, dataset_version, shown_model
from airloom.quality import by_label
from airloom.quality import drift as drifting
from airloom.quality import estimate as estimating
from airloom.quality.estimate import Estimate
from airloom.quality.window import parse, shown_moment
from airloom.registry import models
from airloom.settings import Settings
from airloom.spec.monitor import MonitorSection
from airloom.spec.tasks import is_share
from airloom.tasks.whole import sign
from airloom.tracking import runs
from airloom.tracking.tags import Tag

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

MINUTE = 60.0
DRIFT_WINDOWS = 4  # that are compared: the newest, in part, and those that are needed in a row
BY_SCHEDULE, BY_HAND = "schedule", "by hand"
SHARE_MARGIN, ERROR_MARGIN = 0.02, 0.1  # of an accuracy; of an error's own value on the test rows


@dataclass
class Findings:
    """What a look found: signs, what could not be looked at, and the beginning of the newest window, 0 for none."""

    signals: list[Signal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    since: float = 0.0


def look(
    settings: Settings,
    model: str,
    section: MonitorSection,
    dataset: str,
    *,
    by: str,
    because: str = BY_HAND,
    until: datetime | None = None,
    estimate: Estimate | None = None,
) -> RecordedDecision:
    """Look at a model's champion, decide, and keep the decision. It starts nothing: who called does, by `run` of it.

    Args:
        settings: of this installation.
        model: its name.
        section: `monitor` of its pipeline file.
        dataset: that its pipeline learns from.
        by: who looks.
        because: `schedule`, `by hand`, or an alert in its own words.
        until: this moment when left out. To the end of its minute: who looks again within it gets the same decision.
        estimate: of a metric without labels; that of the newest window when left out.

    Raises:
        RegistryError: the model has no champion, or MLflow does not answer.
        ConfigError: `until` is in the future.
    """
    moment = math.ceil((until.timestamp() if until else time.time()) / MINUTE) * MINUTE
    if moment - MINUTE > time.time():
        raise ConfigError(f"until {shown_moment(moment)} is in the future", "leave it out for this moment")
    version = models.find(settings, model)
    past = decisions.of_model(settings.database_address, version.name)
    if there := next((one for one in past if (one.version, one.until) == (str(version.version), moment)), None):
        return there
    found = Findings()
    _drift(settings, version, section, moment, found)
    faulty = [(one.since, one.until) for one in past if one.action == decision.QUARANTINE]
    _labels(settings, version, section, moment, faulty, found)
    if one := estimate or _estimated(settings, version, section, moment, found):
        _estimate(one, section, found)
    if because not in (BY_SCHEDULE, BY_HAND):
        found.signals.append(Signal(ALERT, because, f"the alert {because} started this look"))
    subject = _subject(settings, version, dataset, found)
    limits = limits_of(section)
    since = found.since or moment - (parse(section.window).seconds or section.look_back)
    record = Look(
        model=version.name,
        version=str(version.version),
        dataset=dataset_version(dataset, subject.newest) if subject.newest else "",
        since=since,
        until=moment,
        by=by,
        because=because,
        signals=found.signals,
        notes=found.notes,
        limits=limits.to_dict(),
    )
    return decisions.keep(
        settings.database_address,
        record,
        lambda started, now: decision.decide(subject, found.signals, limits, started, now),
    )


def named(settings: Settings, model: str) -> str:
    """A model's name in the registry.

    Raises:
        RegistryError: there is none, or what is named is a version.
    """
    asked = ModelName.match(model)
    if asked is None or asked.version or asked.alias:
        hint = "give the model's name, as digits: decisions are about whichever version was the champion"
        raise RegistryError(f"{model[:80]!r} names no model", hint)
    name = settings.registered(model)
    if not models.list_versions(settings, name):
        models.find(settings, model)
    return name


def outcome_of(settings: Settings, record: RecordedDecision) -> str:
    """What became of the run that a decision started: `deployed`, `refused`, …, `running`; empty: it is not there.

    Raises:
        RegistryError: MLflow does not answer.
    """
    if not record.run:
        return ""
    pipeline = shown_model(record.model, settings.installation)
    client = runs.client(settings)
    with runs.connection_errors(settings):
        experiment = client.get_experiment_by_name(runs.experiment_name(settings, pipeline))
        key = str(RunKey.of(pipeline, record.run, pipeline, installation=settings.installation))
        run = runs.find_run(client, experiment.experiment_id, key) if experiment else None
    return str(run.data.tags.get(Tag.OUTCOME, run.info.status.lower())) if run else ""


def limits_of(section: MonitorSection) -> Limits:
    """What the pipeline file lets start a run."""
    if section.retrain is None:
        return Limits(starts=[])
    return Limits(list(section.retrain.on), section.retrain.cooldown, section.retrain.budget_per_week)


def _subject(settings: Settings, version: "ModelVersion", dataset: str, found: Findings) -> Subject:
    from airloom.datasets import versions

    trained = version.tags.get(Tag.DATASET, "")
    number = DatasetName.parse(trained).number if trained.startswith(f"{dataset}@") else 0
    try:
        newest = versions.latest(settings, dataset).number
    except DataAway:
        raise
    except DataError as error:
        found.notes.append(error.message)
        newest = 0
    return Subject(version.name, str(version.version), number, newest)


def _drift(settings: Settings, version: "ModelVersion", section: MonitorSection, until: float, found: Findings) -> None:
    """Data faults of the newest window, else what drifts."""
    window = parse(section.window)
    first = until - (DRIFT_WINDOWS * window.seconds if window.seconds else section.look_back)
    try:
        report = drifting.analyse(
            settings,
            f"{version.name}/{version.version}",
            since=datetime.fromtimestamp(max(first, 0), UTC),
            until=datetime.fromtimestamp(until, UTC),
            window=window,
        ).report
    except DataAway:
        raise
    except DataError as error:
        found.notes.append(f"data faults and drift are not looked at: {error.message}")
        return
    found.notes += report.notes
    if report.windows:
        found.since = report.windows[-1].start
    for feature in report.features:
        if feature.verdict == drifting.FAULT:
            found.signals.append(Signal(FAULT, feature.name, f"{feature.name} {feature.says}"))
        elif feature.verdict == drifting.DRIFT:
            says = f"{feature.name} drifts, PSI {feature.psi:.2f}, since {shown_moment(feature.drifted)}"
            found.signals.append(Signal(DRIFT, feature.name, says))
    if report.verdict == drifting.SILENT:
        found.notes.append(report.headline)


def _labels(
    settings: Settings,
    version: "ModelVersion",
    section: MonitorSection,
    until: float,
    faulty: Sequence[tuple[float, float]],
    found: Findings,
) -> None:
    """The metric of the newest window with enough labels; one with faulty data says nothing of the model."""
    (measured,) = by_label.measure(
        settings,
        f"{version.name}/{version.version}",
        since=datetime.fromtimestamp(max(until - section.look_back, 0), UTC),
        until=datetime.fromtimestamp(until, UTC),
        window=parse(section.window),
    )
    enough = [one for one in measured.windows if one.labelled >= section.labelled and one.metrics]
    sound = [one for one in enough if not any(one.start < end and one.end > start for start, end in faulty)]
    if not sound:
        why = f"of {measured.labelled} labelled rows no window has {section.labelled}"
        found.notes.append(f"no metric is measured: {'windows with labels have faulty data' if enough else why}")
        return
    window = sound[-1]
    metric = next(iter(window.metrics))
    baseline = json.loads(version.tags.get(Tag.METRICS, "{}")).get(metric)
    if baseline is None:
        found.notes.append(f"no metric is compared: the version's evaluation has no {metric}")
        return
    rest = f"of {window.labelled} labelled rows since {shown_moment(window.start)}, on the test rows {baseline:.4f}"
    _add(METRIC, metric, window.metrics[metric], window.interval, baseline, section, rest, found)


def _estimated(
    settings: Settings, version: "ModelVersion", section: MonitorSection, until: float, found: Findings
) -> Estimate | None:
    """Of the newest window; None where nothing is estimated."""
    all_ = estimating.estimate(
        settings,
        f"{version.name}/{version.version}",
        since=datetime.fromtimestamp(max(until - section.look_back, 0), UTC),
        until=datetime.fromtimestamp(until, UTC),
        window=parse(section.window),
    )
    if all_.newest is None:
        found.notes.append(all_.why)
    return all_.newest


def _estimate(estimate: Estimate, section: MonitorSection, found: Findings) -> None:
    """An estimate that was wrong before may still explain; it asks nobody."""
    rest = f"estimated for {estimate.rows} rows without labels, was {estimate.baseline:.4f}"
    interval = [estimate.low, estimate.high]
    if not estimate.trusted:
        said = f"{estimate.metric} {estimate.value:.4f} {rest}"
        found.notes.append(f"{said}; it is not trusted: {estimate.why}")
        return
    _add(ESTIMATE, estimate.metric, estimate.value, interval, estimate.baseline, section, rest, found)


def _add(
    kind: str,
    metric: str,
    value: float,
    interval: Sequence[float],
    baseline: float,
    section: MonitorSection,
    rest: str,
    found: Findings,
) -> None:
    ends = f" ({min(interval):.4f} to {max(interval):.4f})" if interval else ""
    says = f"{metric} {value:.4f}{ends} {rest}"
    margin = section.margin or (SHARE_MARGIN if is_share(metric) else ERROR_MARGIN * abs(baseline))
    worse, sure = decision.loss(value, interval, baseline, margin, more_is_better=sign(metric) > 0)
    if worse:
        found.signals.append(Signal(kind, metric, says, sure))
    else:
        found.notes.append(says)
