"""What a lineage command is asked about: a prediction, a model version, a run."""

from collections.abc import Callable
from dataclasses import dataclass

from airloom.errors import RegistryError
from airloom.lineage.ledger import TRAIN, Ledger, Run, Version
from airloom.monitoring import prediction_id as ids
from airloom.names import ModelName, RunKey, is_mlflow_run, is_prediction, kept_key, shown_model
from airloom.tracking.tags import READY, Tag

HINT = (
    "give a prediction's id (`prediction_ids` of an answer), a model as digits, digits@champion or digits/3, "
    "an MLflow run's id, or a pipeline run's key; of another installation prod.digits/3 or prod:digits/manual__1"
)


@dataclass(frozen=True)
class Subject:
    """What a text names."""

    named: Version | Run
    prediction: str = ""  # the id of an answer that this version gave, where the text is one


def find(
    ledger: Ledger, text: str, own: str, logged: Callable[[str], tuple[str, str] | None] = lambda _: None
) -> Subject:
    """What a text names.

    Args:
        ledger: where runs and versions stand.
        text: see `HINT`.
        own: the installation that a short name means.
        logged: model and version that the prediction log has for an id; decides where two versions have one hash.

    Raises:
        RegistryError: it names nothing that is there.
    """
    if is_prediction(text):
        return Subject(version_of(ledger, text.lower(), logged), text.lower())
    if is_mlflow_run(text):
        return Subject(_run_by_id(ledger, text))
    model = ModelName.match(text)
    if model:
        try:
            return Subject(_version(ledger, model.registered(own), own))
        except RegistryError:
            # A key may look like a version: `digits/5`.
            run = _run_by_key(ledger, kept_key(text, own)) if model.version else None
            if run is None:
                raise
            return Subject(run)
    key = RunKey.match(kept_key(text, own))
    run = _run_by_key(ledger, str(key)) if key else None
    if run is None:
        reason = "is no prediction id, model, run or key"
        if key:
            reason = "is no pipeline run's key that MLflow knows"
        raise RegistryError(f"{text[:120]!r} {reason}", HINT)
    return Subject(run)


def version_of(ledger: Ledger, prediction: str, logged: Callable[[str], tuple[str, str] | None]) -> Version:
    """The version that gave a prediction, by the hash in the prediction's id.

    Args:
        ledger: where the versions stand.
        prediction: its id.
        logged: model and version that the prediction log has for an id, None where it was not kept; asked only where
            two versions have the same hash.

    Raises:
        RegistryError: it is no prediction's id, or no version has that hash.
    """
    try:
        wanted = ids.hash_in(prediction)
    except ValueError as error:
        raise RegistryError(f"{prediction!r} is no prediction id: {error}", HINT) from None
    hashes = [(model, number) for model, number, _ in ledger.numbers() if ids.short_hash(model, number) == wanted]
    same = [v for model, number in hashes if (v := ledger.version(model, number)) and v.tags.get(Tag.STATE) == READY]
    if len(same) > 1:
        row = logged(prediction)
        same = [version for version in same if row == (version.model, version.number)] or same
    if not same:
        hint = "was it another installation, or was the version deleted?"
        raise RegistryError(f"no registered model version gave prediction {prediction}", hint)
    if len(same) > 1:
        names = ", ".join(version.name for version in same)
        raise RegistryError(f"prediction {prediction} fits {names}, and its log row is not kept", "trace these")
    return same[0]


def training_of(ledger: Ledger, run: Run) -> tuple[Run | None, list[str]]:
    """The training behind a run: itself, or of a pipeline run its only one; and all of its trainings, by id.

    A training that the pipeline run took from an earlier one, instead of training again, counts as its own.
    """
    if run.tags.get(Tag.PARENT):
        return run, []
    children = ledger.tagged_runs(Tag.PARENT, [run.id])
    reused = f"{Tag.REUSED}.train"  # `.<candidate>` behind it where the pipeline has several
    taken = {training for tag, training in run.tags.items() if tag == reused or tag.startswith(f"{reused}.")}
    trainings = sorted({child.id for child in ledger.briefs(children) if child.kind == TRAIN} | taken)
    return (ledger.run(trainings[0]) if len(trainings) == 1 else None), trainings


def _run_by_id(ledger: Ledger, identity: str) -> Run:
    run = ledger.run(identity)
    if run is None:
        raise RegistryError(f"MLflow has no run {identity}", HINT)
    return run


def _run_by_key(ledger: Ledger, key: str) -> Run | None:
    identities = sorted(ledger.tagged_runs(Tag.KEY, [key]))
    return ledger.run(identities[0]) if identities else None


def _version(ledger: Ledger, asked: ModelName, own: str) -> Version:
    """A version by its number or an alias; the champion where neither is given.

    Args:
        ledger: where the versions stand.
        asked: by the model's name in the registry.
        own: the installation, for messages.

    Raises:
        RegistryError: there is no such model, alias or version.
    """
    aliases, name, number, shown = ledger.aliases(), asked.name, asked.version, shown_model(asked.name, own)
    if name not in aliases:
        known = ", ".join(sorted(shown_model(other, own) for other in aliases)[:10]) or "none"
        raise RegistryError(f"there is no registered model {shown} (known: {known})", HINT)
    if not number:
        alias = asked.alias or "champion"
        if alias not in aliases[name]:
            there = ", ".join(f"{known}@{n}" for known, n in sorted(aliases[name].items())) or "none"
            raise RegistryError(f"model {shown} has no alias {alias!r}", f"it has {there}; or give {shown}/<version>")
        number = aliases[name][alias]
    version = ledger.version(name, str(int(number)))
    if version is None:
        numbers = [int(n) for model, n, _ in ledger.numbers() if model == name]
        newest = f"its newest is {max(numbers, default=0)}"
        raise RegistryError(f"there is no version {number} of model {shown}", f"{newest}; or {HINT}")
    return version
