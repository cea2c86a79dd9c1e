"""What a lineage command is asked about: a prediction, a model version, a run."""

from collections.abc import Callable
from dataclasses import dataclass

from airloom.errors import RegistryError
from airloom.lineage.ledger import Ledger, Run, Version
from airloom.monitoring import prediction_id as ids
from airloom.names import ModelName, RunKey, is_mlflow_run, is_prediction
from airloom.tracking.tags import READY, Tag

HINT = (
    "give a prediction's id (`prediction_ids` of an answer), a model as digits, digits@champion or digits/3, "
    "an MLflow run's id, or a pipeline run's key"
)


@dataclass(frozen=True)
class Subject:
    """What was found: a version, or a run that no version came of (yet)."""

    version: Version | None = None
    run: Run | None = None
    prediction: str = ""


def find(ledger: Ledger, text: str, logged: Callable[[str], tuple[str, str] | None] = lambda _: None) -> Subject:
    """What a text names.

    Args:
        ledger: where runs and versions stand.
        text: see `HINT`.
        logged: model and version that the prediction log has for an id; decides where two versions have one hash.

    Raises:
        RegistryError: it names nothing that is there.
    """
    if is_prediction(text):
        return Subject(version_of(ledger, text.lower(), logged), prediction=text.lower())
    if is_mlflow_run(text):
        return Subject(run=_run(ledger, text))
    model = ModelName.match(text)
    if model:
        found = _model(ledger, model)
        if isinstance(found, Version):
            return Subject(found)
        # A key may look like a version: `digits/5`.
        run = _keyed(ledger, text) if model.version else None
        if run is None:
            raise found
        return Subject(run=run)
    like_a_key = RunKey.match(text)
    run = _keyed(ledger, text) if like_a_key else None
    if run is None:
        said = "is no pipeline run's key that MLflow knows" if like_a_key else "is no prediction id, model, run or key"
        raise RegistryError(f"{text[:120]!r} {said}", HINT)
    return Subject(run=run)


def version_of(ledger: Ledger, prediction: str, logged: Callable[[str], tuple[str, str] | None]) -> Version:
    """The version that gave an id, told by the hash in the id alone.

    Raises:
        RegistryError: it is no prediction's id, or no version has that hash.
    """
    try:
        wanted = ids.hash_in(prediction)
    except ValueError as error:
        raise RegistryError(f"{prediction!r} is no prediction id: {error}", HINT) from None
    hashes = [(model, number) for model, number, _ in ledger.numbers() if ids.short_hash(model, number) == wanted]
    found = [v for model, number in hashes if (v := ledger.version(model, number)) and v.tags.get(Tag.STATE) == READY]
    if len(found) > 1:
        row = logged(prediction)
        found = [version for version in found if row == (version.model, version.number)] or found
    if not found:
        hint = "was it another installation, or was the version deleted?"
        raise RegistryError(f"no registered model version gave prediction {prediction}", hint)
    if len(found) > 1:
        names = ", ".join(version.name for version in found)
        raise RegistryError(f"prediction {prediction} fits {names}, and its log row is not kept", "trace these")
    return found[0]


def training_of(ledger: Ledger, run: Run) -> tuple[Run | None, list[str]]:
    """The training behind a run: itself, or of a pipeline run its only one; and all of its trainings, by id.

    A training that the pipeline run took from an earlier one, instead of training again, counts as its own.
    """
    if run.tags.get(Tag.PARENT):
        return run, []
    children = ledger.tagged_runs(Tag.PARENT, [run.id])
    reused = f"{Tag.REUSED}.train"  # `.<candidate>` behind it where the pipeline has several
    taken = {other for tag, other in run.tags.items() if tag == reused or tag.startswith(f"{reused}.")}
    trained = sorted({one.id for one in ledger.briefs(children) if one.kind == "train"} | taken)
    return (ledger.run(trained[0]) if len(trained) == 1 else None), trained


def _run(ledger: Ledger, identity: str) -> Run:
    found = ledger.run(identity)
    if found is None:
        raise RegistryError(f"MLflow has no run {identity}", HINT)
    return found


def _keyed(ledger: Ledger, key: str) -> Run | None:
    found = sorted(ledger.tagged_runs(Tag.KEY, [key]))
    return ledger.run(found[0]) if found else None


def _model(ledger: Ledger, asked: ModelName) -> Version | RegistryError:
    """The version, or the error that says why there is none."""
    aliases, name, number = ledger.aliases(), asked.name, asked.version
    if name not in aliases:
        known = ", ".join(sorted(aliases)[:10]) or "none"
        return RegistryError(f"there is no registered model {name} (known: {known})", HINT)
    if not number:
        alias = asked.alias or "champion"
        if alias not in aliases[name]:
            there = ", ".join(f"{one}@{n}" for one, n in sorted(aliases[name].items())) or "none"
            return RegistryError(f"model {name} has no alias {alias!r}", f"it has {there}; or give {name}/<version>")
        number = aliases[name][alias]
    found = ledger.version(name, str(int(number)))
    if found is None:
        numbers = [int(n) for model, n, _ in ledger.numbers() if model == name]
        newest = f"its newest is {max(numbers, default=0)}"
        return RegistryError(f"there is no version {number} of model {name}", f"{newest}; or {HINT}")
    return found
