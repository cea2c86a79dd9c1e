"""Each row of a dataset version is answered once, as the server answers it; what is wrong is told by name."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import airloom
from airloom.datasets import versions
from airloom.datasets.read import read
from airloom.errors import ConfigError, DataError, RegistryError, SignatureRefused
from airloom.lineage.impact import impact
from airloom.lineage.impact import render as render_impact
from airloom.lineage.trace import render, trace
from airloom.prediction.delivery import Target
from airloom.prediction.folder import Folder
from airloom.prediction.job import carry_out, finished
from airloom.prediction.request import Asked, fix
from airloom.tracking import runs
from airloom.tracking.tags import Tag


def images(table: pa.Table) -> np.ndarray:
    return np.stack(table.column("image").to_pylist()).astype(np.float32).reshape(-1, 1, 8, 8)


def answers(made) -> pa.Table:
    return pq.read_table(made.out or made.folder)


def test_every_row_is_answered_as_by_a_loop(world, model, tmp_path: Path) -> None:
    request = fix(world.settings, Asked(model, "digits@v2", columns=["label"], scores=True))
    made = carry_out(world.settings, request, Target(out=str(tmp_path / "answers.parquet")), threads=2)
    table = answers(made)
    rows = read(world.settings, versions.get(world.settings, "digits", 2))
    loop = airloom.load_model(model).predict(images(rows), scores=True)
    assert made.rows == table.num_rows == rows.num_rows == 800
    assert table.column("prediction").to_pylist() == loop["predictions"]
    assert table.column("row").to_pylist() == list(range(800))
    assert table.column("label").to_pylist() == rows.column("label").to_pylist()
    assert table.column("model").unique().to_pylist() == [model]
    given = table.column("scores").combine_chunks()
    assert [list(row.values()) for row in given.to_pylist()] == loop["scores"]
    assert [field.name for field in given.type] == [str(name) for name in loop["classes"]]


def test_a_split_is_that_of_the_training_and_has_the_ids_of_the_whole(world, model) -> None:
    training = runs.client(world.settings).get_model_version(*model.split("/")).run_id
    learned = replace(world.snapshot, split={"train": 0.2, "validation": 0.2, "test": 0.6})
    runs.client(world.settings).set_tag(training, Tag.SNAPSHOT_RECORD, json.dumps(learned.to_dict()))
    whole = answers(carry_out(world.settings, fix(world.settings, Asked(model, "digits")), Target()))
    request = fix(world.settings, Asked(model, "digits", split="test"))
    part = answers(carry_out(world.settings, request, Target()))
    assert 0.5 < part.num_rows / 800 < 0.7
    same = whole.take(part.column("row"))
    assert same.column("prediction_id").equals(part.column("prediction_id"))
    assert same.column("prediction").equals(part.column("prediction"))
    assert whole.column("prediction_id").to_pylist() == sorted(set(whole.column("prediction_id").to_pylist()))


def test_an_id_leads_to_model_and_row_and_impact_counts_the_answers(world, model) -> None:
    settings = world.settings
    made = carry_out(settings, fix(settings, Asked(model, "digits@v2")), Target(commit=f"a{world.pipeline.pipeline}"))
    table = answers(made)
    found = trace(settings, table.column("prediction_id")[417].as_py())
    assert f"{found.model.name}/{found.model.version}" == model
    assert (found.batch.dataset, found.batch.row, found.batch.brought_by) == ("digits@v2", 417, "digits@v2")
    assert found.batch.run == made.run
    assert trace(settings, table.column("prediction_id")[3].as_py()).batch.brought_by == "digits@v1"
    line = render(found).splitlines()[0]
    assert "row 417 of digits@v2, which digits@v2 brought" in line
    assert f"kept in {made.committed}" in line
    assert found.to_dict()["batch"]["row"] == 417
    of_run = trace(settings, made.run)
    assert of_run.batch.row is None
    assert f"800 rows of digits@v2, kept in {made.committed}" in render(of_run)
    second = impact(settings, "digits@v2")
    (mine,) = [batch for batch in second.batches if batch.run == made.run]
    assert (mine.rows, mine.read, mine.model) == (800, 400, model)
    assert mine.predictions == (800 if mine.by_model else 400)
    assert second.batch_predictions >= mine.predictions
    assert f"400 of 800 rows of digits@v2 are of it, kept in {made.committed}" in render_impact(second)
    run = runs.client(settings).get_run(made.run)
    assert run.info.status == "FINISHED"
    assert (run.data.params["model"], run.data.metrics["rows"]) == (model, 800)
    assert run.info.run_name == f"{model} on digits@v2"


def test_what_is_not_in_the_journal_is_made_again(world, model) -> None:
    """Also where it looks whole: only what the disk was told to hold, and held, counts."""
    request = fix(world.settings, Asked(model, "digits@v1"))
    made = carry_out(world.settings, request, Target())
    folder = Folder(world.settings, request.id)
    before = [folder.file(part).read_bytes() for part in range(4)]
    journal = folder.path / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    folder.file(1).write_bytes(before[0])  # the journal has its digest
    journal.write_bytes(b"".join(lines[:3]) + lines[3][:-20])  # a kill came in the middle of the last line
    folder.file(3).write_bytes(b"PAR1 of somebody")
    (folder.path / "done.json").unlink()
    assert sorted(folder.finished()) == [0, 2]
    assert carry_out(world.settings, request, Target()) == made
    assert [folder.file(part).read_bytes() for part in range(4)] == before
    assert sorted(folder.finished()) == [0, 1, 2, 3]


def test_a_part_is_on_the_disk_before_it_has_its_name(world, model, monkeypatch) -> None:
    events: list[tuple[str, str]] = []
    sync, rename = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        events.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        sync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        events.append(("rename", path.name))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    carry_out(world.settings, fix(world.settings, Asked(model, "digits@v1")), Target())
    of_part = [event for event in events if event[1].startswith((".part-000001", "parts", "journal"))]
    at = of_part.index(("rename", ".part-000001.parquet.draft"))
    assert of_part[at - 1 : at + 3] == [
        ("sync", ".part-000001.parquet.draft"),
        ("rename", ".part-000001.parquet.draft"),
        ("sync", "parts"),
        ("sync", "journal.jsonl"),
    ]


def test_answers_go_to_a_file_a_folder_and_a_dataset_once(world, model, tmp_path: Path) -> None:
    settings, request = world.settings, fix(world.settings, Asked(model, "digits@v1"))
    folder, file = Target(out=str(tmp_path / "answers")), Target(out=str(tmp_path / "answers.parquet"))
    made = carry_out(settings, request, folder)
    assert pq.read_table(made.out).equals(answers(carry_out(settings, request, file)))
    name = f"b{world.pipeline.pipeline}"
    kept = carry_out(settings, request, Target(commit=name, author="Ada"))
    assert kept.committed == f"{name}@v1"
    version = versions.get(settings, name, 1)
    assert (version.author, version.rows) == ("Ada", 400)
    assert version.message == f"answers of {model} on digits@v1"
    known = Folder(settings, request.id).delivered()
    del known[f"commit {name}"]  # as after a kill between the push and what is kept of it
    Folder(settings, request.id).keep("delivered.json", known)
    assert carry_out(settings, request, Target(commit=name)).committed == f"{name}@v1"
    assert finished(settings, request, Target(commit=name)).found
    later = carry_out(settings, fix(settings, Asked(model, "digits@v2")), Target(commit=name))
    assert later.committed == f"{name}@v2"
    assert versions.get(settings, name, 2).rows == 1200
    for target in (folder, file):
        path = Path(target.out)
        assert finished(settings, request, target)
        other = fix(settings, Asked(model, "digits@v2"))
        with pytest.raises(ConfigError, match=f"{path} exists"):
            carry_out(settings, other, target)
    Path(file.out).write_bytes(b"mine")
    with pytest.raises(ConfigError, match="exists"):
        carry_out(settings, request, file)
    assert Path(file.out).read_bytes() == b"mine"


def test_wrong_names_are_told_before_anything_is_answered(world, model, tmp_path: Path) -> None:
    settings = world.settings
    for asked, error, text in (
        (Asked("nobody/1", "digits"), RegistryError, "no version 1 of model nobody"),
        (Asked(model, "digit"), DataError, "there is no dataset digit"),
        (Asked(model, "digits@v9"), DataError, "no version digits@v9"),
        (Asked(model, "digits", split="tset"), ConfigError, "has no split 'tset'"),
        (Asked(model, "digits", columns=["labell"]), ConfigError, "has no column 'labell'"),
        (Asked(model, "digits", columns=["label", "label"]), ConfigError, "stands twice"),
    ):
        with pytest.raises(error, match=text) as caught:
            fix(settings, asked)
        assert caught.value.hint
    request = fix(settings, Asked(model, "digits"))
    for target, text in (
        (Target(out=str(tmp_path)), "exists"),
        (Target(out=str(settings.home / "answers.parquet")), "lies in the state folder"),
        (Target(commit="digits"), "is the dataset that is read"),
        (Target(commit="No"), "is no name of a dataset"),
        (Target(commit="one", out=str(tmp_path / "b")), "both given"),
    ):
        with pytest.raises(ConfigError, match=text):
            carry_out(settings, request, target)
    assert not Folder(settings, request.id).plan()


def test_a_model_that_nobody_trusted_signed_answers_nothing(world, model) -> None:
    api, (name, number) = runs.client(world.settings), model.split("/")
    api.set_model_version_tag(name, number, Tag.METRICS, '{"accuracy": 2}')
    with pytest.raises(SignatureRefused):
        fix(world.settings, Asked(model, "digits"))


def test_a_table_with_a_key_and_a_row_without_an_answer(world, table_model, put) -> None:
    model, name = table_model
    values = {"who": ["x", "y", "z"], "a": [1.0, 2.0, 3.0], "b": [2.0, 4.0, 8.0], "note": ["p", "q", "r"]}
    put(world.settings, name, values, "who")
    made = carry_out(world.settings, fix(world.settings, Asked(model, name, columns=["note"])), Target())
    table = answers(made)
    assert table.column_names == ["prediction_id", "model", "dataset", "row", "who", "note", "prediction"]
    assert table.column("prediction").to_pylist() == [0.5, 0.5, 0.375]
    assert table.column("who").to_pylist() == ["x", "y", "z"]
    kept = carry_out(world.settings, fix(world.settings, Asked(model, name)), Target(commit=f"k{name}"[:40]))
    assert versions.find(world.settings, kept.committed).key == "who"
    with pytest.raises(DataError, match="it has no probabilities"):
        carry_out(world.settings, fix(world.settings, Asked(model, name, scores=True)), Target())
    put(world.settings, name, {"who": ["v", "w"], "a": [1.0, 0.0], "b": [2.0, 0.0], "note": ["p", "q"]}, "who")
    with pytest.raises(DataError, match=rf"row 4 of {name}@v2: .* is not finite but nan"):
        carry_out(world.settings, fix(world.settings, Asked(model, name)), Target())


def test_columns_that_the_model_does_not_take_are_named(world, table_model, put) -> None:
    model, name = table_model
    with pytest.raises(DataError, match="row 0 of digits@v2: "):
        carry_out(world.settings, fix(world.settings, Asked(model, "digits@v2")), Target())
    put(world.settings, name, {"a": [1.0]})
    with pytest.raises(DataError, match=f"row 0 of {name}@v1: there is no column b"):
        carry_out(world.settings, fix(world.settings, Asked(model, name)), Target())
