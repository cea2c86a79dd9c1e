"""`airloom run` of pipelines without `tune`, `gate`, `deploy`: what is left out does not run, and the card says so."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from airloom.cli.main import _verdict
from airloom.contracts import Decision, Evaluation, RunContext
from airloom.errors import ConfigError, GateError, RegistryError
from airloom.jobs.table import Attempts
from airloom.lineage.trace import render, trace
from airloom.pipeline.run import run_pipeline, tune_pipeline
from airloom.pipeline.steps import promote
from airloom.pipeline.steps.resolve import resolve
from airloom.registry import card, card_pages, models
from airloom.registry import register as registry
from airloom.tracking import runs
from airloom.tracking.tags import NOT_JUDGED, Tag
from airloom.tuning import queries

pytestmark = pytest.mark.timeout(600)
MODEL = """
import torch
from airloom.training import fit

def train(run):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, run.params.get("width", 12)), torch.nn.ReLU(),
                                torch.nn.Linear(run.params.get("width", 12), 10))
    fit(run, model, loss=torch.nn.functional.cross_entropy, optimizer=torch.optim.SGD(model.parameters(), lr=0.5))
    run.save_model(model)
"""
TUNE = {"trials": 1, "epochs": 1, "objective": {"metric": "validation_accuracy"}, "space": {"width": {"int": [8, 8]}}}
GATE = {
    "at_least": {"accuracy": 0.01},
    "first_model": "minimums",
    "against_champion": {"non_inferior_by": 0.5, "resamples": 500},
}
FILE = {
    "dataset": {"name": "digits"},
    "train": "model.py:train",
    "parameters": {"epochs": 2, "batch_size": 32},
    "evaluate": {"slices": {"low": {"label": [0, 1, 2, 3, 4]}}},
}
SECTIONS = {"tune": TUNE, "gate": GATE, "deploy": {"steps": ["champion"]}}


class Project:
    """A home with a dataset, and a pipeline for each choice of sections."""

    def __init__(self, settings) -> None:
        self.settings, self.results, self.said = settings, dict[str, dict](), dict[str, list[str]]()

    def file(self, name: str, *sections: str) -> Path:
        made = self.settings.project / f"{name}.yaml"
        made.write_text(yaml.safe_dump({"pipeline": name, **FILE, **{key: SECTIONS[key] for key in sections}}))
        return made

    def run(self, name: str, *sections: str, **options):
        said = self.said.setdefault(name, [])
        return run_pipeline(self.settings, self.file(name, *sections), said.append, **options)

    def tags(self, result: dict) -> dict[str, str]:
        return runs.client(self.settings).get_run(result["context"]["mlflow_run"]).data.tags

    def jobs(self, result: dict) -> list[str]:
        key = result["context"]["key"]
        return sorted(
            {
                a.key.removeprefix(f"{key}/")
                for a in Attempts(self.settings.database_address).recent()
                if a.key.startswith(f"{key}/")
            }
        )


@pytest.fixture(scope="module")
def project(make_home, tmp_path_factory, warm_jobs):
    from airloom.datasets.commit import commit
    from airloom.datasets.ingest.images import image_table

    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.setenv(name, "")
        settings = make_home(tmp_path_factory.mktemp("left-out"))
        patch.setenv("AIRLOOM_HOME", str(settings.home))
        patch.setenv("AIRLOOM_PROJECT", str(settings.project))
        (settings.project / "model.py").write_text(MODEL)
        expectations = settings.project / "configs" / "expectations"
        expectations.mkdir(parents=True)
        shutil.copy(Path(__file__).parents[4] / "configs" / "expectations" / "digits.json", expectations)
        generator = np.random.default_rng(0)
        labels = generator.integers(0, 10, 300)
        images = generator.uniform(0, 0.5, (300, 64)).astype(np.float32)
        images[np.arange(300), labels] = 1
        commit(settings, "digits", image_table(images.reshape(-1, 1, 8, 8), labels), message="first", author="Ada")
        yield Project(settings)


@pytest.fixture(scope="module")
def bare(project):
    """A run of a file with none of the three."""
    return project.run("bare", parameters={"epochs": 3})


def test_with_none_of_the_three_it_trains_once_evaluates_and_registers(project, bare) -> None:
    assert project.jobs(bare) == ["evaluate", "train"]
    assert queries.list_studies(project.settings) == []
    assert (bare["tune"], bare["study"]) == ([], {})
    assert bare["model"]["parameters"] == {"epochs": 3, "batch_size": 32}
    assert set(bare["evaluation"]["metrics"]) >= {"accuracy", "log_loss"}
    assert (bare["gate"]["judged"], bare["gate"]["passed"], bare["gate"]["reasons"]) == (False, False, [NOT_JUDGED])
    assert bare["registered"]["version"] == "1"
    assert "deployment" not in bare
    tags = project.tags(bare)
    assert (tags[Tag.GATE], tags[Tag.OUTCOME]) == ("not judged", "registered")
    assert models.champion(runs.client(project.settings), "bare") is None
    told = "airloom model promote bare/1` makes it the champion"
    assert told in project.said["bare"][-1]
    assert "nobody judged it" in project.said["bare"][-1]
    assert _verdict(bare) == "version 1 is registered, nobody judged it, and serves once a person promotes it"


def test_card_description_show_and_trace_say_what_nobody_did(project, bare) -> None:
    settings = project.settings
    shown = models.show(settings, "bare/1")
    assert (shown.tags[Tag.GATE], shown.tags[Tag.STUDY], shown.refused) == (NOT_JUDGED, "not tuned", "")
    composed = card.card(settings, "bare", "1")
    (gate,) = composed.sections["Gate"]
    assert (gate.name, gate.value) == ("decision", "not judged")
    assert gate.evidence == "give the pipeline file a gate, then: airloom run bare"
    assert [fact.name for fact in composed.sections["Slices"]] == ["low"]
    assert "| study | not tuned |" in card_pages.markdown(composed)
    assert "judged by: give the pipeline file a gate" in card_pages.markdown(composed)
    assert "<td class=missing>not judged<td>judged by: <code>give" in card_pages.page(composed)
    description = models.get_version(settings, "bare", "1").description
    assert "Nobody judged it, evidence in run" in description
    assert "Not tuned." in description
    chain = trace(settings, "bare/1")
    assert chain.run.to_dict()["study"] == "not tuned"
    assert "0 predictions, not judged" in render(chain)
    assert "), not tuned\n" in render(chain)


def test_what_was_measured_is_kept_as_evidence_with_its_digest(project, bare) -> None:
    client = runs.client(project.settings)
    path = client.download_artifacts(bare["context"]["mlflow_run"], bare["gate"]["evidence"])
    evidence = json.loads(Path(path).read_text())
    assert (evidence["judged"], evidence["metrics"]) == (False, bare["evaluation"]["metrics"])
    assert not {"tune", "gate", "deploy"} & set(evidence["definition"])


def test_the_same_again_takes_everything_from_the_cache_and_stays_one_version(project, bare) -> None:
    again = project.run("bare", parameters={"epochs": 3})
    assert project.jobs(again) == []
    assert again["registered"]["version"] == "1"
    assert again["model"] == bare["model"]
    other = project.run("bare", parameters={"epochs": 3}, key=bare["context"]["key"])  # goes on
    assert other["registered"]["version"] == "1"


def test_promoted_by_a_person_it_serves_and_is_nothing_new_after(project, bare) -> None:
    from airloom.deployment import record

    assert record.deploy(project.settings, "bare", "1").champion == "1"
    again = project.run("bare", parameters={"epochs": 3})
    assert again["gate"]["nothing_new"]
    assert "registered" not in again


@pytest.mark.long
def test_without_a_study_the_gate_decides_and_deploy_serves(project) -> None:
    result = project.run("untuned", "gate", "deploy")
    assert project.jobs(result) == ["evaluate", "gate", "train"]
    assert result["gate"]["passed"]
    assert result["deployment"]["champion"] == "1"
    assert project.tags(result)[Tag.OUTCOME] == "deployed"
    assert models.show(project.settings, "untuned").tags[Tag.STUDY] == "not tuned"
    assert _verdict(result) == "version 1 is the champion"


@pytest.mark.long
def test_without_deploy_what_the_gate_passes_is_registered_only(project) -> None:
    result = project.run("unserved", "tune", "gate")
    assert project.jobs(result) == ["evaluate", "gate", "train", "tune-0"]
    assert result["gate"]["passed"]
    assert "deployment" not in result
    assert project.tags(result)[Tag.OUTCOME] == "registered"
    assert models.champion(runs.client(project.settings), "unserved") is None
    assert project.said["unserved"][-1].endswith("`airloom model promote unserved/1` makes it the champion")
    assert "nobody judged" not in project.said["unserved"][-1]
    assert models.show(project.settings, "unserved/1").tags[Tag.STUDY] == result["context"]["key"]


@pytest.mark.long
def test_without_a_gate_the_study_chooses_and_nobody_judges(project) -> None:
    result = project.run("unjudged", "tune")
    assert project.jobs(result) == ["evaluate", "train", "tune-0"]
    assert result["study"]["best_parameters"] == {"width": 8}
    assert result["registered"]["version"] == "1"
    assert project.tags(result)[Tag.GATE] == "not judged"


def test_commands_that_need_what_is_left_out_say_so_before_they_make_anything(project, bare) -> None:
    file = project.file("bare")
    with pytest.raises(ConfigError, match="pipeline bare is not tuned"):
        tune_pipeline(project.settings, file, lambda _: None)
    with pytest.raises(ConfigError, match="unknown parameters: width") as caught:
        project.run("bare", parameters={"width": 3})
    assert caught.value.hint == "bare has: batch_size, epochs"


def test_a_gate_that_is_there_cannot_be_gone_round(project) -> None:
    """A DAG by hand without a gate task, of a pipeline with a gate."""
    context = resolve(project.settings, project.file("judged", "gate"), "judged/by-hand")
    evaluation = Evaluation({"accuracy": 1.0}, "", {}, "evaluation/predictions.parquet", 10)
    with pytest.raises(GateError, match="pipeline judged has a gate, and nobody asked it"):
        promote.not_judged(project.settings, context, evaluation)
    forged = Decision(False, [NOT_JUDGED], "", None, judged=False)
    with pytest.raises(RegistryError, match="has a gate, which did not judge this candidate"):
        registry.register(project.settings, RunContext.from_dict(context.to_dict()), None, evaluation, forged)
