"""One grammar of names: how each is written and read. Imports the standard library only.

| what | written |
|---|---|
| dataset version | `digits`, `digits@v3`, `digits@golden` |
| installation | `production`; one may have none |
| model version | `digits`, `digits/3`, `digits@champion` |
| the same of another installation | `prod.digits/3`; of the one without a name `.digits/3` |
| registered model in MLflow | `[installation.]digits` |
| pipeline run | `[installation:]dag/run[@pipeline][[map index]][/candidate]` |
| job of it | `<pipeline run>/task[-index]` |
| MLflow child run of it | `<pipeline run>/kind/number` |
| files of a model in MLflow | `models:/m-<32 hex digits>` |
| prediction | a UUIDv7, see `airloom.monitoring.prediction_id` |
| batch prediction | `[installation:]predict/<32 hex digits>`, a run key, and the key of its MLflow run |
| metric, parameter | letters, digits, `_ - . : /` and spaces, as MLflow takes them |

What is kept holds the installation; a person leaves out the own one. Where the pipeline is called like its DAG, as the
DAG factory and `airloom run` have it, its name is left out. Names that earlier releases wrote are names of this grammar
too.
"""

import hashlib
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from airloom.errors import ConfigError, NameRefused

# What MLflow's names, files, Airflow's ids, URLs, git's refs and names of hosts all take.
INSTALLATION = re.compile(r"[a-z](?:[a-z0-9-]{0,28}[a-z0-9])?")
PIPELINE = re.compile(r"[a-z][a-z0-9_]{0,39}")
DATASET = re.compile(r"[a-z][a-z0-9_]{0,39}")
TAG = re.compile(r"(?!v\d+$)[a-z0-9][a-z0-9._-]{0,63}")
_NUMBER = re.compile(r"v([0-9]{1,9})")
_MODEL = re.compile(
    r"(?P<name>\.?[A-Za-z0-9_][A-Za-z0-9_.-]{0,99})(?:/(?P<version>\d{1,9})|@(?P<alias>[A-Za-z][\w-]{0,49}))?"
)
_RUN_KEY = re.compile(
    rf"(?:(?P<installation>{INSTALLATION.pattern}):)?"
    r"(?P<dag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,249})/(?P<run>[^\x00-\x1f]+?)"
    r"(?:@(?P<pipeline>[a-z][a-z0-9_]{0,39}))?(?:\[(?P<map_index>\d{1,9})\])?"
    r"(?:/(?P<candidate>[a-z][a-z0-9_]{0,39}))?"
)
_OF_INSTALLATION = re.compile(rf"{INSTALLATION.pattern}:")
_PREDICTION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_LOGGED = re.compile(r"[/\w.\- :]+")
LONGEST_LOGGED = 240  # characters; MLflow takes 250, and `best.` or `test_` may come before the name
_MLFLOW_RUN = re.compile(r"[0-9a-f]{32}")
_LOGGED_MODEL = re.compile(r"models:/(m-[0-9a-f]{32})")


@dataclass(frozen=True)
class DatasetName:
    """A dataset, or one version of it by number or by tag.

    Attributes:
        dataset: its name.
        number: of the version; 0 where the name has none.
        tag: a label that somebody gave to a version.
    """

    dataset: str
    number: int = 0
    tag: str = ""

    def __str__(self) -> str:
        return dataset_version(self.dataset, self.number) if self.number else "@".join(filter(None, self._parts))

    @property
    def _parts(self) -> tuple[str, str]:
        return self.dataset, self.tag

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `digits@v3`, `digits@golden` or `digits`.

        Raises:
            ConfigError: it is none of them.
        """
        dataset, at, which = text.partition("@")
        if not DATASET.fullmatch(dataset):
            hint = "lower case letters, digits and _, at most 40"
            raise ConfigError(f"{dataset[:80]!r} is no name of a dataset", hint)
        if not at:
            return cls(dataset)
        if number := _NUMBER.fullmatch(which):
            return cls(dataset, int(number[1]), "" if int(number[1]) else which)
        if not TAG.fullmatch(which):
            hint = "the form is name@vN or name@tag, for example digits@v3"
            raise ConfigError(f"{text[:80]!r} names no version", hint)
        return cls(dataset, tag=which)


def dataset_version(dataset: str, number: int) -> str:
    """`digits@v3`, which is also the git tag."""
    return f"{dataset}@v{number}"


@dataclass(frozen=True)
class ModelName:
    """A registered model, or one version of it by number or by alias; at most one of the two is set."""

    name: str
    version: str = ""
    alias: str = ""

    def __str__(self) -> str:
        return f"{self.name}/{self.version}" if self.version else "@".join(filter(None, (self.name, self.alias)))

    @classmethod
    def match(cls, text: str) -> Self | None:
        """Read `digits/3`, `digits@champion` or `digits`, also with `models:/` before it; None where it is none."""
        parts = _MODEL.fullmatch(text.removeprefix("models:/"))
        return cls(parts["name"], parts["version"] or "", parts["alias"] or "") if parts else None

    def registered(self, own: str) -> Self:
        """The same by its name in MLflow; see `registered_model`."""
        return replace(self, name=registered_model(self.name, own))


def check_installation(text: str) -> str:
    """The name of an installation; empty for none.

    Raises:
        ValueError: it is no such name.
    """
    if text and not INSTALLATION.fullmatch(text):
        raise ValueError("must be lower case letters, digits and -, at most 30, a letter first and no - at the end")
    return text


def registered_model(name: str, own: str) -> str:
    """The name in MLflow of a model that a person names.

    Args:
        name: `digits` for the own installation's, `prod.digits`, or `.digits` for that of the one without a name.
        own: the installation where it is said.
    """
    if name.startswith("."):
        return name[1:]
    return f"{own}.{name}" if own and "." not in name else name


def owner_of(registered: str) -> str:
    """The installation that a registered model of MLflow belongs to; what no installation made is of the nameless."""
    installation, dot, name = registered.partition(".")
    return installation if dot and INSTALLATION.fullmatch(installation) and PIPELINE.fullmatch(name) else ""


def shown_model(registered: str, own: str) -> str:
    """A registered model as a person of the installation `own` writes it: the inverse of `registered_model`."""
    owner = owner_of(registered)
    if owner == own:
        return registered.removeprefix(f"{own}.") if own else registered
    return registered if owner else f".{registered}"


def kept_key(text: str, own: str) -> str:
    """The key of a run, study or job as it is kept, from what a person says.

    Args:
        text: `digits/manual__1` for the own installation's, `prod:digits/…`, or `:digits/…` for the nameless one's.
        own: the installation where it is said.
    """
    if text.startswith(":"):
        return text[1:]
    return text if not own or _OF_INSTALLATION.match(text) else f"{own}:{text}"


def logged_model(uri: str) -> str | None:
    """The id of a model's files in MLflow, `m-…` of `models:/m-…`; None where the address is any other."""
    found = _LOGGED_MODEL.fullmatch(uri)
    return found[1] if found else None


@dataclass(frozen=True)
class RunKey:
    """A pipeline run, or one candidate of it. A retry has the same key and finds what the last try left.

    Attributes:
        dag: the DAG; the pipeline for `airloom run`.
        run: Airflow's run id, or `local__<time>`.
        pipeline: the pipeline where it is not called like the DAG.
        map_index: where one task group is mapped over several pipelines or parameters; -1 where it is not.
        installation: whose run it is; empty for the one without a name.
        candidate: one of the pipeline's candidates, whose study, jobs and child runs stand below this key.
    """

    dag: str
    run: str
    pipeline: str = ""
    map_index: int = -1
    installation: str = ""
    candidate: str = ""

    def __str__(self) -> str:
        whose = f"{self.installation}:" if self.installation else ""
        what = f"@{self.pipeline}" if self.pipeline else ""
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{whose}{self.dag}/{self.run}{what}{mapped}" + (f"/{self.candidate}" if self.candidate else "")

    @classmethod
    def of(cls, dag: str, run: str, pipeline: str = "", map_index: int = -1, installation: str = "") -> Self:
        """The key of a run of `pipeline` in a DAG run.

        Args:
            dag: its id.
            run: of the DAG.
            pipeline: its name.
            map_index: of a mapped task group; -1 where it is not mapped.
            installation: whose run it is.
        """
        return cls(dag, run, "" if pipeline == dag else pipeline, map_index, installation)

    @classmethod
    def match(cls, text: str) -> Self | None:
        """Read a key; None where it is none."""
        parts = _RUN_KEY.fullmatch(text)
        if parts is None:
            return None
        index = int(parts["map_index"]) if parts["map_index"] else -1
        names = {name: parts[name] or "" for name in ("dag", "run", "pipeline", "installation", "candidate")}
        key = cls(map_index=index, **names)
        # A number with zeros in front, or quotes around nothing, would be written in another way.
        dag, _, run = text.removeprefix(f"{key.installation}:").partition("/")
        return key if str(key) == text else cls(dag, run, installation=key.installation)

    def of_candidate(self, name: str) -> Self:
        """The key below which the work on one candidate stands."""
        return replace(self, candidate=name)


def owner_of_key(kept: str) -> str:
    """The installation that the kept key of a run, study or job belongs to."""
    found = _OF_INSTALLATION.match(kept)
    return found[0][:-1] if found else ""


@dataclass(frozen=True)
class JobKey:
    """A job of a pipeline run; its attempts are numbered below this key.

    Attributes:
        run: the key of the pipeline run, or of one candidate of it.
        task: the name of the step, or the id of a task that is called otherwise.
        index: tells mapped tasks, such as the workers of a study, apart; -1 where there is one only.
    """

    run: str
    task: str
    index: int = -1

    def __str__(self) -> str:
        return f"{self.run}/{self.task}" + (f"-{self.index}" if self.index >= 0 else "")

    def former(self, candidate: str) -> str:
        """What releases before this grammar called the job of a candidate under Airflow: `…/cnn/tune_cnn-0`."""
        return str(replace(self, task=f"{self.task}_{candidate}")) if candidate else str(self)


def study_of_worker(job: str) -> str:
    """The study that the job `<study>/tune-<number>` works on; empty for any other job.

    Workers of a candidate were called `<study>/tune_<candidate>-<number>` by earlier releases.
    """
    study, _, task = job.rpartition("/")
    return study if re.fullmatch(r"tune(_[a-z][a-z0-9_]*)?-\d+", task) else ""


def child_run(run: str, kind: str, number: int) -> str:
    """The key of an MLflow child run, `digits/manual__1/trial/3`."""
    return f"{run}/{kind}/{number}"


def run_of_child(child: str) -> str:
    """The key of the pipeline run, or of its candidate, below which a child run stands."""
    return child.rsplit("/", 2)[0]


def near(name: str, known: Iterable[str]) -> str:
    """The beginning of a hint: which known name may have been meant; empty where none is near."""
    import difflib

    close = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean {close[0]}? " if close else ""


def is_prediction(text: str) -> bool:
    """Whether a text has the form of a prediction's id."""
    return bool(_PREDICTION.fullmatch(text))


def is_mlflow_run(text: str) -> bool:
    """Whether a text has the form of an MLflow run's id."""
    return bool(_MLFLOW_RUN.fullmatch(text))


def check_logged(kind: str, name: str) -> str:
    """The name, which MLflow takes as that of a metric or a parameter.

    Args:
        kind: `metric` or `parameter`, for the message.
        name: of it.

    Raises:
        NameRefused: MLflow does not take it; the message says what would do.
    """
    if _LOGGED.fullmatch(name) and len(name) <= LONGEST_LOGGED and not _is_path_of_another(name):
        return name
    plain = posixpath.normpath(re.sub(r"[^/\w.\- :]", "_", name)[:LONGEST_LOGGED]).strip("./ ") or kind
    rule = f"it takes letters, digits, spaces and _ - . : /, at most {LONGEST_LOGGED}, and no path such as a//b or ../a"
    raise NameRefused(f"MLflow takes no {kind} called {name[:300]!r}: {rule}", f"call it {plain!r}")


def loggable(name: str) -> str:
    """A name that MLflow takes: the same, or one with the signs that it does not take left out and a digest behind it.

    A class may be called as it likes; two that look alike then stay two.
    """
    if _LOGGED.fullmatch(name) and len(name) <= LONGEST_LOGGED and not _is_path_of_another(name):
        return name
    plain = re.sub(r"[^\w.\- :]", "_", name)[: LONGEST_LOGGED - 10].rstrip(". ")
    return f"{plain}.{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _is_path_of_another(name: str) -> bool:
    """Stores that keep a file for each name cannot tell `a/./b` from `a/b`."""
    norm = posixpath.normpath(name)
    return norm != name or norm == "." or norm.startswith(("..", "/"))
