"""What `datasets.yaml` tries with data: `datasets.py ACTION`, in the project's folder. Each prints what it saw."""

import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from airloom.datasets import edit, versions
from airloom.datasets.commit import commit
from airloom.datasets.compact import compact
from airloom.datasets.ingest import from_batches, from_table
from airloom.datasets.ingest.images import image_table
from airloom.datasets.read import read
from airloom.datasets.snapshots import snapshot
from airloom.datasets.storage.schema import Layout
from airloom.errors import CorruptFile, DataError
from airloom.settings import Settings, load

ANY = [{"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}]
BLOB = Layout("generic", label="label")


def files(settings: Settings) -> None:
    """Lay out what the rows of datasets.yaml commit."""
    folder = settings.project / "data"
    for name in ("pets/cats", "pets/dogs", "reviews/good", "reviews/bad"):
        (folder / name).mkdir(parents=True)
    pa.csv.write_csv(_flights(0, 30), folder / "jan.csv")
    pq.write_table(_flights(30, 30), folder / "feb.parquet")
    corrected = _flights(17, 1).set_column(2, "miles", [[150.125]])
    pa.csv.write_csv(corrected, folder / "corrected.csv")
    pa.csv.write_csv(_flights(0, 3).set_column(1, "hour", [[1, 2, 77]]), folder / "spoiled.csv")
    (folder / "ships.jsonl").write_text("".join(json.dumps({"length": n, "sail": n % 2}) + "\n" for n in range(9)))
    rng = np.random.default_rng(0)
    np.savez(folder / "ones.npz", images=rng.integers(0, 255, (9, 1, 8, 8), np.uint8), labels=np.arange(9))
    for number in range(3):
        (folder / f"reviews/good/{number}.txt").write_text(f"well made, {number} times")
        (folder / f"reviews/bad/{number}.txt").write_text(f"broke after {number} days")
        for kind in ("cats", "dogs"):
            (folder / f"pets/{kind}/{number}.png").write_bytes(_picture(rng))
    print(f"{len(list(folder.rglob('*.*')))} files")


def edited(settings: Settings) -> None:
    """Edit a draft, as a person does: that an hour is 0 to 23 is known, and no matter of what was seen."""
    path = settings.project / "configs" / "expectations" / "flights.json"
    suite = json.loads(path.read_text())
    hours = {"column": "hour", "min_value": 0, "max_value": 23}
    suite["expectations"].append({"type": "expect_column_values_to_be_between", "kwargs": hours})
    path.write_text(json.dumps(suite, indent=1))
    print(f"{path.name}: {len(suite['expectations'])} expectations")


def _flights(first: int, count: int) -> pa.Table:
    numbers = range(first, first + count)
    return pa.table(
        {
            "flight": [f"AA{100 + n}" for n in numbers],
            "hour": [n % 24 for n in numbers],
            "miles": [100.5 + 7 * (n * 7 % 30) + (n > 29) / 4 for n in numbers],
            "late": [n % 3 == 0 for n in numbers],
        }
    )


def _picture(rng: np.random.Generator) -> bytes:
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def kinds(settings: Settings) -> None:
    """A dataset from each kind of source, by the command line; and one from Python, in batches."""
    sources = {
        "pets": ("data/pets", "image"),
        "reviews": ("data/reviews", "text"),
        "ships": ("data/ships.jsonl", "tabular"),
        "ones": ("data/ones.npz", "image"),
        "anything": ("data/feb.parquet", "generic"),
    }
    for name, (source, kind) in sources.items():
        asked = [source, *(["--type", kind] if kind == "generic" else [])]
        airloom("propose-expectations", name, *asked, "--write")
        made = json.loads(airloom("create", name, *asked, "-m", "first", "--json"))
        assert made["type"] == kind, made
        print(f"{made['name']} from {source}: {made['type']}, {made['rows']} rows")
    _suite(settings, "stream")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = commit(settings, "stream", from_batches(_blobs(30_000), BLOB), message="from a generator")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    print(f"{made.name} from Python: {made.rows} rows, 600 MB in batches, memory grew by {grown} MB")


def _suite(settings: Settings, name: str) -> None:
    path = settings.project / "configs" / "expectations" / f"{name}.json"
    path.write_text(json.dumps({"name": name, "expectations": ANY}))


def _blobs(count: int, seed: int = 0, size: int = 20_000) -> Iterator[pa.RecordBatch]:
    rng = np.random.default_rng(seed)
    for start in range(0, count, 200):
        rows = min(200, count - start)
        blobs = pa.array([rng.bytes(size) for _ in range(rows)], pa.large_binary())
        yield pa.record_batch([blobs, pa.array(range(start, start + rows))], names=["blob", "label"])


def stored_bytes(settings: Settings) -> None:
    """What an append, a correction and a mostly equal upload add to the DVC remote."""
    _suite(settings, "blobs")
    first = commit(settings, "blobs", from_batches(_blobs(20_000), BLOB), message="400 MB")
    for name, change in (
        ("append of 1 %", lambda: commit(settings, "blobs", from_batches(_blobs(200, 1), BLOB), message="more")),
        ("one row fixed", lambda: edit.fix_rows(settings, first, [7], from_batches(_blobs(1, 2), BLOB), message="fix")),
    ):
        before = _remote(settings)
        change()
        new = sum(size for path, size in _remote(settings).items() if path not in before)
        print(f"{name}: {new} bytes, {new / (4_000_000 if 'append' in name else 20_000):.4f} of the data")
    old = versions.manifest_of(settings, first)
    table = read(settings, first)
    one = pa.Table.from_batches(list(_blobs(1, 3))).cast(table.schema)
    again = pa.concat_tables([table.slice(0, 9000), one, table.slice(9000)])
    made = commit(settings, "blobs", from_table(again, BLOB), message="one row more in the middle", mode="replace")
    kept = {s.md5 for s in old.shards} & {s.md5 for s in versions.manifest_of(settings, made).shards}
    print(f"re-upload with one row more in the middle: {len(kept)} of {len(old.shards)} shards kept")


def _remote(settings: Settings) -> dict[str, int]:
    return {str(p): p.stat().st_size for p in settings.dvc_remote_folder.rglob("*") if p.is_file()}


def ids(settings: Settings) -> None:
    """The same rows in two stores, cut and committed otherwise; compacted; with one changed byte."""
    rows = image_table(np.random.default_rng(5).random((90, 1, 8, 8), np.float32), np.arange(90) % 10)
    with tempfile.TemporaryDirectory() as folder:
        other = Settings(home=Path(folder) / "other", project=settings.project)
        third = Settings(home=Path(folder) / "third", project=settings.project)
        for start in range(0, 90, 30):
            parts = commit(other, "digits", rows.slice(start, 30), message="part")
        whole = commit(third, "digits", rows, message="whole")
        assert parts.id == whole.id
        print("committed in three parts and at once: one id")
        _, manifest = compact(other, "digits")
        assert versions.latest(other, "digits") == parts and len(manifest.shards) == 1
        print(f"compacted from 3 shards to 1 (revision {manifest.revision}): number and id stay")
        labels = rows.column("label").to_pylist()
        changed = rows.set_column(1, rows.schema.field(1), [[*labels[:-1], 3]])
        assert commit(third, "digits", changed, message="one", mode="replace").id != whole.id
        print("one changed byte: another id")


def stranger(settings: Settings) -> None:
    """git and DVC alone: pull, the hash that `dvc add` gives, status, get, diff and gc."""
    last = versions.latest(settings, "flights")
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(settings.data_repo), str(clone)], check=True)
        _dvc(clone, "pull", "-q", "flights/shards.dvc", "flights/index.dvc")
        shards = json.loads((clone / "flights/manifest.json").read_text())["shards"]
        found = [pa.ipc.open_file(str(clone / f"flights/shards/{s['md5']}.arrow")).read_all() for s in shards]
        print(f"dvc pull: {sum(t.num_rows for t in found)} rows, {sum(s['dead_rows'] for s in shards)} of them deleted")
        assert sum(t.num_rows for t in found) - sum(s["dead_rows"] for s in shards) == last.rows
        before = (clone / "flights/shards.dvc").read_text()
        _dvc(clone, "add", "-q", "flights/shards")
        assert (clone / "flights/shards.dvc").read_text() == before
        print("dvc add: the same directory hash; dvc status:", _dvc(clone, "status", "flights/shards.dvc").strip())
        _dvc(clone, "get", "-q", settings.data_repo, "flights/shards", "--rev", "flights@v1", "-o", clone / "got")
        print("dvc get --rev flights@v1:", len(list((clone / "got").iterdir())), "file")
        changes = json.loads(_dvc(clone, "diff", "--json", "flights@v1", "flights@v3"))
        print("dvc diff flights@v1 flights@v3:", len(changes["added"]), "added")
        _dvc(clone, "gc", "-q", "--workspace", "--force")
        print("dvc gc, then", _dvc(clone, "status", "flights/shards.dvc").strip())


def _dvc(folder: Path, *arguments: object) -> str:
    command = [sys.executable, "-m", "dvc", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def reading(settings: Settings) -> None:
    """The loader on the demo's digits: every row once, resumed anywhere, damage named, missing shards fetched."""
    made = snapshot.prepare(settings, versions.get(settings, "digits", 2), {"train": 0.8, "test": 0.2})
    data = snapshot.open_anew(settings, made)
    whole = list(data.loader("train", 64, seed=3))
    rows = sorted(bytes(image.numpy()) for images, _ in whole for image in images)
    assert rows == sorted(bytes(np.float32(row)) for row in data.table("train").column("image").to_pylist())
    print(f"an epoch, held as a list: {len(rows)} rows, each once and intact")
    for world in (1, 2, 4):
        print(f"resumed at world size {world}:", _resumed(data, whole, world))
    state = data.loader("train", 64, seed=3).state_dict()
    print(f"state of {len(json.dumps(state))} bytes: {', '.join(state)}")
    shard = data.fetch().files[0].path
    kept, times = shard.read_bytes(), shard.stat()
    shard.chmod(0o644)
    shard.write_bytes(kept[:9000] + bytes([kept[9000] ^ 1]) + kept[9001:])
    os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
    try:
        list(snapshot.open_anew(settings, made).loader("train", 64))
    except CorruptFile as error:
        print("a flipped byte, size and time put back:", str(error).splitlines()[0])
    shard.unlink()
    told: list[int] = []
    snapshot.open_anew(settings, made).fetch(lambda done, total: told.append(total))
    assert shard.read_bytes() == kept
    print(f"the missing shard was fetched: {told[-1]} bytes")


def _resumed(data: Any, whole: list[Any], world: int) -> str:
    first = data.loader("train", 64, seed=3)
    batches = iter(first)
    for _ in range(5):
        next(batches)
    state = json.loads(json.dumps(first.state_dict()))
    ranks = []
    for rank in range(world):
        loader = data.loader("train", 64, seed=3, rank=rank, world_size=world)
        loader.load_state_dict(state)
        ranks.append([sorted(bytes(image.numpy()) for image in images) for images, _ in loader])
    joined = [sorted(chain.from_iterable(parts)) for parts in zip(*ranks, strict=True)]
    expected = [sorted(bytes(image.numpy()) for image in images) for images, _ in whole[5:]]
    assert joined == expected
    return f"the same {len(expected)} batches that remain"


def huggingface(settings: Settings) -> None:
    """Export for `datasets`, in a folder of packages beside the environment, and load it there."""
    packages = settings.project / "packages"
    wanted = ("datasets", "hf-xet", "httpcore2", "httpx2", "huggingface_hub", "multiprocess", "truststore", "xxhash")
    pins = (settings.project / "benchmarks" / "requirements.txt").read_text().splitlines()
    names = [pin for pin in pins if pin.partition("==")[0] in wanted] + ["dill"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(packages), *names]
    subprocess.run(pip, check=True)
    beside = os.environ | {"PYTHONPATH": str(packages), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "airloom", "dataset", "export", "flights@v1", "data/hf", "--form", "hf"]
    print(subprocess.run(command, env=beside, check=True, capture_output=True, text=True).stdout.strip())
    code = "from datasets import load_from_disk as l; d = l('data/hf'); print(f'{d.num_rows} rows, {d.column_names}')"
    done = subprocess.run([sys.executable, "-c", code], env=beside, check=True, capture_output=True, text=True)
    print("load_from_disk:", done.stdout.strip())


def many(settings: Settings) -> None:
    """`log` and `show` of a dataset with 10,000 versions, made of one by git itself."""
    from airloom.datasets.storage import repository

    with tempfile.TemporaryDirectory() as folder:
        home = Settings(home=Path(folder) / "home", project=settings.project)
        rows = image_table(np.full((3, 1, 8, 8), 0.3, np.float32), np.arange(3))
        made = commit(home, "digits", rows, message="one")
        note = repository.git(home.data_repo, "cat-file", "tag", "digits@v1").stdout
        stream = []
        for number in range(2, 10_001):
            text = note.partition("\n\n")[2].replace('"number": 1,', f'"number": {number},')
            head = f"tag digits@v{number}\nfrom {made.commit}\ntagger a <a@b> 0 +0000\n"
            stream.append(f"{head}data {len(text)}\n{text}\n")
        repository.git(home.data_repo, "fast-import", "--quiet", given="".join(stream))
        for name, look in (("log", lambda: len(versions.log(home, "digits"))), ("show", lambda: _show(home))):
            began = time.monotonic()
            seen = look()
            print(f"{name} of {seen}: {time.monotonic() - began:.2f} s")


def _show(home: Settings) -> str:
    version = versions.get(home, "digits", 9_999)
    versions.manifest_of(home, version)
    return version.name


def quarantined(settings: Settings) -> None:
    """Nothing that reads versions sees a batch in quarantine."""
    last = versions.latest(settings, "flights")
    hours = read(settings, last).column("hour").to_pylist()
    try:
        versions.get(settings, "flights", last.number + 1)
    except DataError as error:
        print(f"{last.name} has no hour 77: {77 not in hours}; {error.message}")


def airloom(*arguments: str) -> str:
    command = [sys.executable, "-m", "airloom", "dataset", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    known: list[Callable[[Settings], None]] = [files, kinds, stored_bytes, ids, stranger, reading, huggingface]
    actions = {f.__name__.replace("_", "-"): f for f in [*known, many, quarantined, edited]}
    actions[sys.argv[1]](load())
