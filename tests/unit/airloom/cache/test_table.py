"""The cache's table: what was changed, and what it says. The first run is real, and so is every HIT."""

import json
import uuid
from dataclasses import replace

import pytest

from airloom.cache import entries, lookup
from airloom.contracts import CacheDecision, RunContext, StudyResult
from airloom.jobs.table import Attempts
from airloom.pipeline.steps import evaluate, train, tune
from airloom.pipeline.steps.resolve import DEFINITION, resolve
from airloom.pipeline.steps.submit import decide
from airloom.spec.load import definition, digest, load_pipeline
from airloom.tracking import runs
from airloom.tuning.slots import Slots

pytestmark = pytest.mark.timeout(300)


def ask(project, **options):
    """What `tune` and, with the first run's study, `train` of a new run would say."""
    context = resolve(project.settings, project.file, f"cached/{uuid.uuid4().hex}", **options)
    study = lookup.look_up(project.settings, context, tune.STEP, {})
    hit = CacheDecision("tune", True, [], value=project.first["study"])
    context = context.with_(studies={"": hit.to_dict()}, key=f"{context.key}/with its study")
    return study, lookup.look_up(project.settings, context, train.STEP, {})


def edit(name, text):
    return lambda project: (project.settings.project / name).write_text(text)


def pipeline(**changes):
    return lambda project: project.write(**changes)


TUNE = {"trials": 1, "epochs": 1, "objective": {"metric": "validation_accuracy"}, "space": {"width": {"int": [8, 8]}}}
ROWS = {
    "a helper two imports deep": (
        edit("helpers/sizes.py", "def times(width):\n    return 3 * width\n"),
        "helpers/sizes.py changed",
    ),
    "a package's init": (edit("helpers/__init__.py", "x = 1\n"), "helpers/__init__.py changed"),
    "the function's file": (edit("model.py", "import helpers.net\n"), "model.py changed"),
    "a declared file": (edit("data/table.csv", "1,3"), "input data/table.csv changed"),
    "a further declared file": (edit("data/new.csv", "1,3"), "input data/new.csv is new"),
    "a file that it read undeclared": (
        edit("extra.txt", "2"),
        "extra.txt changed (it was read, but is no declared input)",
    ),
    "the lock": (edit("constraints.txt", "numpy==2.2\n"), "lock: constraints.txt: numpy 2.1 -> 2.2"),
    "a parameter": (pipeline(parameters={"epochs": 3, "batch_size": 32, "lr": 0.2}), "parameter lr 0.5 -> 0.2"),
    "the seed": (pipeline(seed=1), "seed 0 -> 1"),
    "a tag filter": (
        pipeline(dataset={"name": "digits", "tags": ["source=phone"]}),
        "snapshot: tag filter none -> source=phone",
    ),
    "threads": (pipeline(resources={"threads": 2}), "resources.threads 1 -> 2"),
}


@pytest.mark.parametrize("name", ROWS)
def test_what_changed_is_named_by_both_steps(changed, name):
    change, says = ROWS[name]
    change(changed)
    study, train = ask(changed)
    assert (study.hit, study.why) == (False, [says])
    assert (train.hit, train.why) == (False, [says])


@pytest.mark.parametrize(
    "change",
    [
        edit("README.md", "second"),
        edit("helpers/other.py", "nobody imports it"),
        pipeline(gate={"at_least": {"accuracy": 0.2}, "against_champion": {"superior": True}}),
        pipeline(tune=TUNE | {"failures": 3}),
    ],
    ids=["README", "another file", "the gate's policy", "what a study survives"],
)
def test_what_no_training_reads_is_a_hit(changed, change):
    change(changed)
    assert [verdict.hit for verdict in ask(changed)] == [True, True]


def test_only_the_step_that_reads_it_is_a_miss(changed):
    changed.write(stop={"steps": 1000})
    study, train = ask(changed)
    assert study.hit
    assert train.why == ["stop.steps None -> 1000"]
    changed.write(parameters={"epochs": 5, "batch_size": 32, "lr": 0.5})  # `tune.epochs` stands in its place
    study, train = ask(changed)
    assert study.hit
    assert train.why == ["parameter epochs 3 -> 5"]
    changed.write(tune=TUNE | {"trials": 2})
    study, train = ask(changed)
    assert study.why == ["tune.trials 1 -> 2"]
    assert train.hit


def test_a_run_s_own_parameters_are_inputs(changed):
    study, train = ask(changed, parameters={"lr": 0.25})
    assert study.why == train.why == ["parameter lr 0.5 -> 0.25"]


def test_a_miss_is_explained_by_the_nearest_run(changed):
    """A second entry, further away, is not the one that is compared with."""
    changed.write(seed=7, parameters={"epochs": 1, "lr": 9.0})
    far = resolve(changed.settings, changed.file, f"cached/{uuid.uuid4().hex}")
    api = runs.client(changed.settings)
    entries.keep(api, far.mlflow_run, "tune", tune.reads(changed.settings, far), {}, {})
    changed.write(seed=3)
    assert ask(changed)[0].why == ["seed 0 -> 3"]
    api.set_terminated(far.mlflow_run, "FAILED")


def test_the_switches(changed):
    changed.write(cache={"train": False})
    study, train = ask(changed)
    assert study.hit
    assert train.why == ["cache.train is false in the pipeline file"]
    changed.write(cache=False)
    assert [verdict.why for verdict in ask(changed)] == [
        [f"cache.{name} is false in the pipeline file"] for name in ("tune", "train")
    ]
    changed.write()
    assert ask(changed, cache=False)[0].why == ["the cache is switched off for this run"]


def test_a_run_takes_nothing_from_itself_and_nothing_from_a_failed_one(changed):
    settings = changed.settings
    context = RunContext.from_dict(changed.first["context"])
    assert not lookup.look_up(settings, context, tune.STEP, {}).hit
    assert not lookup.look_up(settings, context, train.STEP, {}).hit
    api = runs.client(settings)
    for run in (context.mlflow_run, changed.first["model"]["mlflow_run"]):
        api.set_terminated(run, "FAILED")
    assert [verdict.hit for verdict in ask(changed)] == [False, False]
    for run in (context.mlflow_run, changed.first["model"]["mlflow_run"]):
        api.set_terminated(run, "FINISHED")
    assert [verdict.hit for verdict in ask(changed)] == [True, True]


def test_a_retry_goes_on_and_a_clear_runs_anew(changed):
    settings, context = changed.settings, RunContext.from_dict(changed.first["context"])
    evaluated = {"trained": changed.first["model"]}
    for step, arguments in ((tune.STEP, {"worker": 0}), (train.STEP, {}), (evaluate.STEP, evaluated)):
        job = step.key(context, arguments)
        assert decide(settings, context, step, arguments, job) is None  # its job is there: it goes on
        anew = decide(settings, context, step, arguments, job, cleared=True)
        assert (anew.hit, anew.why) == (False, [lookup.CLEARED])
    fresh = resolve(settings, changed.file, f"cached/{uuid.uuid4().hex}")
    job = train.STEP.key(fresh, {})
    assert decide(settings, fresh, train.STEP, {}, job).hit
    assert not decide(settings, fresh, train.STEP, {}, job, cleared=True).hit
    tune.make_study(settings, fresh)  # as a worker does that is cleared
    assert not decide(settings, fresh, train.STEP, {}, job).hit


def test_what_was_collected_is_a_miss_that_says_so(changed):
    api, store = runs.client(changed.settings), changed.settings.home / "mlflow"
    model = changed.first["model"]["model_uri"].rpartition("/")[2]
    (file,) = store.glob(f"**/{model}/artifacts/**/model.onnx")
    file.rename(file.with_suffix(".away"))
    try:
        study, train = ask(changed)
        assert study.hit
        assert "was collected or damaged" in train.why[0]
    finally:
        file.with_suffix(".away").rename(file)
    run = changed.first["context"]["mlflow_run"]
    (entry,) = store.glob(f"**/{run}/artifacts/cache/tune.json")
    text = entry.read_text()
    entry.write_text(text.replace("width", "depth"))
    assert ask(changed)[0].why == [f"the entry of run {run} is damaged"]
    entry.unlink()
    assert ask(changed)[0].why == [f"the entry of run {run} was collected"]
    entry.write_text(text)
    assert ask(changed)[0].hit
    assert api.get_run(run).info.status == "FINISHED"


def test_one_row_more_is_named(changed, rows_of):
    from airloom.datasets.commit import commit

    before = changed.settings
    commit(before, "digits", rows_of(99, 1), message="one more", author="Ada")
    study, train = ask(changed)
    assert study.why == train.why == ["snapshot: digits@v1 -> digits@v2, 1 row added"]
    assert ask(changed, version=1)[0].hit


def tries(settings):
    from sqlalchemy import create_engine, text

    with create_engine(settings.database_address).connect() as connection:
        return connection.execute(text("select count(*) from gate_tries where model = 'cached'")).scalar()


def test_a_second_run_has_nothing_new_and_compares_nothing_with_itself(changed):
    """The whole loop again: study and training are a HIT, whose model is the champion; no job, no try, no version."""
    first, api, before = changed.first, runs.client(changed.settings), tries(changed.settings)
    again = changed.run(version=1)
    assert [line.split(":")[0] for line in changed.said if "HIT" in line] == ["tune", "train"]
    assert changed.said[-1] == (
        "evaluate: NOTHING NEW: the trained model is cached/1, the champion; it is not judged again"
    )
    table, key = Attempts(changed.settings.database_address), again["context"]["key"]
    assert [attempt.key for attempt in table.recent() if attempt.key.startswith(f"{key}/")] == []
    assert again["model"] == first["model"]
    assert not {"evaluation", "registered", "deployment"} & set(again)
    assert (again["gate"]["passed"], again["gate"]["nothing_new"]) == (False, True)
    assert [version.version for version in api.search_model_versions("name = 'cached'")] in (["1"], [1])
    assert tries(changed.settings) == before
    run = api.get_run(again["context"]["mlflow_run"])
    assert (run.info.status, run.data.tags["airloom.outcome"]) == ("FINISHED", "nothing new")
    assert run.data.tags["airloom.gate"] == "nothing new"
    evidence = json.loads(api_text(api, run.info.run_id, "gate/evidence.json", changed.settings))
    assert (evidence["nothing_new"], evidence["passed"], evidence["champion_version"]) == (True, False, "1")
    assert evidence["candidates"] == [first["model"]["model_uri"]]
    assert "NOTHING NEW" in api_text(api, run.info.run_id, "gate/evidence.html", changed.settings)
    assert run.data.params["best.width"] == "8"
    assert run.data.tags["airloom.reused.train"] == first["model"]["mlflow_run"]
    assert StudyResult.from_dict(again["study"]) == replace(StudyResult.from_dict(first["study"]))
    same = changed.run(key=first["context"]["key"], version=1)  # the run that made the champion goes on as it was
    assert (same["registered"]["version"], same["evaluation"]) == ("1", first["evaluation"])


def test_an_evaluation_asks_no_champion_that_is_the_candidate_and_the_gate_says_so(changed):
    from airloom.contracts import TrainedModel
    from airloom.evaluation.evaluate import evaluate
    from airloom.evaluation.gate.evidence import gate

    before = tries(changed.settings)
    context = RunContext.from_dict(changed.run(version=1)["context"])
    pipeline = load_pipeline(changed.file)
    evaluation = evaluate(changed.settings, pipeline, context, TrainedModel.from_dict(changed.first["model"]))
    assert (evaluation.champion_version, evaluation.champion_metrics) == ("1", {})
    decision = gate(changed.settings, pipeline, context, evaluation)
    assert decision.nothing_new and not decision.promotes
    assert tries(changed.settings) == before


def api_text(api, run, path, settings):
    from pathlib import Path

    return Path(api.download_artifacts(run, path, str(settings.home / "downloads"))).read_text()


def test_a_run_goes_on_as_resolve_fixed_it_whatever_becomes_of_the_file(ran):
    assert len(ran.first_said) > 8
    pipeline = load_pipeline(ran.file)
    context = RunContext.from_dict(ran.first["context"])
    assert definition(context) == pipeline
    api = runs.client(ran.settings)
    evidence = json.loads(api_text(api, context.mlflow_run, "gate/evidence.json", ran.settings))
    assert evidence["definition"] == json.loads(api_text(api, context.mlflow_run, DEFINITION, ran.settings))
    assert evidence["definition"]["gate"]["at_least"] == {"accuracy": 0.01}
    version = api.get_model_version("cached", ran.first["registered"]["version"])
    assert version.tags["airloom.spec.sha256"] == evidence["definition_sha256"] == digest(pipeline)
    assert api.get_run(ran.first["model"]["mlflow_run"]).data.tags["airloom.seed"] == "0"


def test_a_version_names_the_study_and_the_job_that_made_it(ran):
    version = runs.client(ran.settings).get_model_version("cached", ran.first["registered"]["version"])
    assert version.tags["airloom.study"] in Slots(ran.settings.database_address).names()
    assert Attempts(ran.settings.database_address).of(version.tags["airloom.job"])


def test_an_undeclared_file_is_warned_of(ran):
    warned = [line for line in ran.first_said if "extra.txt is read by path, and no declared input" in line]
    assert any(line.startswith("train:") for line in warned)
    assert any(line.startswith("tune-0:") for line in warned)
    assert not any("table.csv" in line for line in warned)
