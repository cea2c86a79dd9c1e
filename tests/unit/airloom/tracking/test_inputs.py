"""What a run read, looked at with a client of MLflow that knows nothing of Airloom."""

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pyarrow as pa

from airloom.datasets.commit import commit
from airloom.datasets.edit import delete_rows
from airloom.datasets.ingest.images import image_table
from airloom.datasets.snapshots import snapshot
from airloom.project.git import without_password
from airloom.settings import Settings
from airloom.tracking import runs
from airloom.tracking.inputs import _kind, log_input
from airloom.tracking.tags import Tag

# -S leaves out the site's .pth files, by which this checkout is found; MLflow and pyarrow lie in the folder itself.
PLAIN = """
import importlib.util, json, pathlib, sys, warnings
sys.path.append(sys.argv[1])
assert importlib.util.find_spec("airloom") is None
warnings.simplefilter("ignore")  # MLflow's, of an entry point without its package
import mlflow, numpy, pyarrow.dataset
mlflow.set_tracking_uri(sys.argv[2])
found = []
for one in mlflow.get_run(sys.argv[3]).inputs.dataset_inputs:
    source = mlflow.data.get_source(one)
    folder = pathlib.Path(source.load())
    table = pyarrow.dataset.dataset(folder / "shards", format="arrow").to_table()
    labels = table.take(numpy.load(folder / "rows.npy")).column("label").to_pylist()
    tags = {tag.key: tag.value for tag in one.tags}
    found.append({"type": one.dataset.source_type, "labels": labels, "context": tags["mlflow.data.context"],
        "name": one.dataset.name, "digest": one.dataset.digest, "source": json.loads(one.dataset.source),
        "schema": json.loads(one.dataset.schema), "profile": json.loads(one.dataset.profile)})
print(json.dumps(found))
"""


def plain_client(settings: Settings, run: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-I", "-S", "-c", PLAIN, sysconfig.get_path("purelib"), settings.mlflow_uri, run]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))


def test_a_plain_client_loads_each_split_that_a_run_read(world) -> None:
    ctx, api = world.ctx(), runs.client(world.settings)
    for split in ("train", "test", "test"):
        log_input(api, world.settings, ctx.mlflow_run, world.snapshot, split)
    read = {one["context"]: one for one in plain_client(world.settings, ctx.mlflow_run)}
    data = snapshot.open_snapshot(world.settings, world.snapshot)
    assert sorted(read) == ["test", "training"]
    for context, split in (("test", "test"), ("training", "train")):
        one, table = read[context], data.table(split)
        assert (one["name"], one["type"]) == ("digits@v2", "local")
        assert one["labels"] == table.column("label").to_pylist()
        assert one["profile"] == {"num_rows": table.num_rows}
        assert one["source"]["revision"] == world.snapshot.commit
        assert one["source"]["split"] == split
        columns = {column["name"]: column["type"] for column in one["schema"]["mlflow_colspec"]}
        assert (columns["label"], columns["image"]) == ("long", "array")
    assert read["test"]["digest"] != read["training"]["digest"]


def test_a_snapshot_that_this_home_does_not_have_is_named_by_repository_and_commit(small, caplog) -> None:
    import mlflow

    ctx, api = small.ctx(), runs.client(small.settings)
    log_input(api, small.settings, ctx.mlflow_run, small.snapshot, "train")
    (read,) = api.get_run(ctx.mlflow_run).inputs.dataset_inputs
    tags = mlflow.data.get_source(read).to_dict()["tags"]
    assert (read.dataset.source_type, tags["mlflow.source.git.commit"]) == ("code", small.snapshot.commit)
    assert "MLflow gets no folder of digits@v1, split train" in caplog.text


def test_a_copy_of_the_folder_stands_alone(world, tmp_path: Path) -> None:
    from airloom.datasets.snapshots.plain_folder import lay_out

    shutil.copytree(lay_out(world.settings, world.snapshot, "test"), tmp_path / "copy")
    assert not [path for path in (tmp_path / "copy").rglob("*") if path.is_symlink()]
    assert len(list((tmp_path / "copy" / "shards").iterdir())) == 2


def test_links_hold_where_rows_were_deleted_and_the_home_was_moved(make_home, tmp_path: Path) -> None:
    import numpy as np
    import pyarrow.dataset as ds

    from airloom.datasets.snapshots.plain_folder import lay_out

    settings = make_home(tmp_path / "before")
    suite = Path(__file__).parents[4] / "configs" / "expectations" / "digits.json"
    images = np.random.default_rng(0).uniform(0, 1, (60, 1, 8, 8)).astype(np.float32)
    table = image_table(images, np.arange(60) % 10)
    first = commit(settings, "digits", table, message="m", author="Ada", suite=suite)
    version = delete_rows(settings, first, [3, 4, 30], message="dark", author="Ada")
    made = snapshot.prepare(settings, version, {"train": 0.5, "a b/c": 0.5})
    expected = snapshot.open_snapshot(settings, made).table("a b/c")
    folder = lay_out(settings, made, "a b/c")
    assert lay_out(settings, made, "a b/c") == folder
    shutil.move(tmp_path / "before", tmp_path / "after")
    moved = tmp_path / "after" / folder.relative_to(tmp_path / "before")
    rows = ds.dataset(moved / "shards", format="arrow").to_table().take(np.load(moved / "rows.npy"))
    assert rows.column("image").to_pylist() == expected.column("image").to_pylist()
    assert "a b/c of digits@v2" in (moved / "README.txt").read_text()


def test_a_type_is_never_narrowed() -> None:
    from mlflow.types.schema import AnyType, Array, ColSpec, DataType

    assert [_kind(kind) for kind in (pa.uint8(), pa.uint32(), pa.large_string(), pa.timestamp("us", "UTC"))] == [
        DataType.integer,
        DataType.long,
        DataType.string,
        DataType.datetime,
    ]
    for kind in (pa.uint64(), pa.decimal128(9, 2), pa.struct({"a": pa.int8()}), pa.dictionary(pa.int8(), pa.string())):
        assert isinstance(_kind(kind), AnyType)
        assert ColSpec(_kind(kind), "x", required=False).to_dict()["type"] == "any"
    assert _kind(pa.list_(pa.list_(pa.float32(), 2), 3)) == Array(Array(DataType.float))


def test_the_runs_of_a_pipeline_run_name_the_person_of_it(world) -> None:
    from airloom.contracts import RunContext

    api, name = runs.client(world.settings), world.pipeline.pipeline
    experiment, run = runs.ensure_parent(world.settings, name, f"{name}/x", {Tag.USER: "Ada"})
    ctx = RunContext(name, {}, f"{name}/x", run, experiment, world.snapshot)
    child = api.get_run(runs.ensure_child(api, ctx, "train")).info
    assert (child.user_id, api.get_run(run).info.user_id) == ("Ada", "Ada")
    older = world.ctx("older")
    assert Tag.USER not in api.get_run(runs.ensure_child(api, older, "train")).data.tags


def test_no_password_of_a_remote_stands_in_a_run() -> None:
    assert without_password("https://ada:secret@host:8080/data.git") == "https://host:8080/data.git"
    assert without_password("ssh://ada@host/data.git") == "ssh://ada@host/data.git"
    assert without_password("host:data.git") == "host:data.git"
