"""What `lineage.yaml` tries: `lineage.py ACTION`, in the project's folder. Each prints what it saw."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pandas as pd  # noqa: TID253 - one of the log's readers
import psutil
import pyarrow.dataset as ds
import yaml

from airloom.datasets import versions
from airloom.lineage.impact import impact
from airloom.lineage.trace import trace
from airloom.lineage.why import render, why
from airloom.monitoring import totals
from airloom.settings import Settings, load
from airloom.stack import control
from airloom.tracking import runs as mlflow_runs


def ways(settings: Settings) -> None:
    """Every way of asking for one chain."""
    champion = trace(settings, "digits")
    assert champion.model, champion
    run, name = champion.run, f"digits/{champion.model.version}"
    asked = ["digits", "digits@champion", name, run.train, run.parent, run.pipeline_run, _ask(settings, 1)[0]]
    chains = [json.loads(_airloom("trace", target, "--json")) for target in asked] + [trace(settings, name).to_dict()]
    assert all(_chain(one) == _chain(chains[0]) for one in chains), chains
    print(f"{len(chains)} ways, one chain")


def unlogged(settings: Settings) -> None:
    """The whole log away."""
    (one,) = _ask(settings, 1)
    _until(lambda: trace(settings, one).logged)
    before = trace(settings, one)
    away = settings.prediction_log.rename(settings.prediction_log.with_name("predictions away"))
    try:
        print(_airloom("trace", one))
        after = trace(settings, one)
    finally:
        shutil.copytree(away, settings.prediction_log, dirs_exist_ok=True)  # the server may have made a new one
        shutil.rmtree(away)
    assert before.logged and not after.logged
    assert _chain(before.to_dict()) == _chain(after.to_dict())
    print("the same chain")


def drawn(_: Settings) -> None:
    """The drawing that the command before made."""
    svg = ElementTree.parse("impact.svg")  # noqa: S314 - our own
    names = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert "digits/1" in names and "digits/2" in names, names
    print(f"impact.svg: {sum(1 for _ in svg.iter('{http://www.w3.org/2000/svg}g'))} boxes")


def shards(settings: Settings) -> None:
    """The same by a commit's hash, and by each shard of the second version."""
    version = versions.get(settings, "digits", 2)
    named, by_hash = impact(settings, "digits@v2"), impact(settings, version.commit[:12])
    assert replace(by_hash, target=named.target, kind=named.kind, name=named.name) == named
    print(f"commit {version.commit[:12]}: as digits@v2")
    for shard in versions.manifest_of(settings, version).shards:
        found = impact(settings, shard.md5)
        assert found.models and "digits@v2" in {version.name for version in found.versions}
        print(f"shard {shard.md5}: {', '.join('digits/' + model.version for model in found.models)}")


def counted(settings: Settings) -> None:
    """Answers and counts: at rest, over a stop, and over SIGKILL."""
    before = _count(settings)
    _ask(settings, 1000)
    _until(lambda: _count(settings) >= before + 1000)
    print(f"asked 1000, counted {_count(settings) - before}")
    before = _count(settings)
    _ask(settings, 1000)
    _restart(settings, signal.SIGTERM)
    print(f"stopped at once: asked 1000, counted {_count(settings) - before}")
    before, asked = _count(settings), list[float]()
    end = time.monotonic() + 6
    while time.monotonic() < end:
        _ask(settings, 10)
        asked += [time.monotonic()] * 10
    at = time.monotonic()
    _restart(settings, signal.SIGKILL)
    lost, recent = len(asked) - (_count(settings) - before), sum(when > at - 2 for when in asked)
    assert 0 <= lost <= recent, (lost, recent)
    print(f"killed: asked {len(asked)}, lost {lost}, at most {recent}")


def locked(settings: Settings) -> None:
    """Another program holds the write lock of the stack's SQLite database."""
    before = _count(settings)
    with sqlite3.connect(settings.database_address.removeprefix("sqlite:///"), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        took = []
        for _ in range(50):
            began = time.monotonic()
            _ask(settings, 10)
            took.append(time.monotonic() - began)
        time.sleep(max(0.0, 8 - sum(took)))  # longer than a write waits for the lock
        other.execute("ROLLBACK")
    assert max(took) < 3, took  # an answer waits for no lock
    print(f"locked: 500 answered, the slowest in {max(took):.2f} s")
    _until(lambda: _count(settings) >= before + 500)
    print(f"caught up: {_count(settings) - before} counted")


def log(settings: Settings) -> None:
    """The log by two plain readers."""
    _ask(settings, 10)
    time.sleep(7)
    frame = pd.read_parquet(settings.prediction_log)
    print(f"pandas: {len(frame)} rows; {'; '.join(f'{name} {kind}' for name, kind in frame.dtypes.items())}")
    table = ds.dataset(settings.prediction_log, partitioning="hive").to_table(filter=ds.field("model") == "digits")
    print(f"pyarrow: {table.num_rows} rows of digits, by version {table['version'].value_counts().to_pylist()}")
    print(f"{len(list(settings.prediction_log.glob('date=*/.*')))} half-written")


def edited(settings: Settings) -> None:
    """Train an edited copy of the function in the same place, and ask why it differs."""
    place = settings.project / "examples" / "digits" / "model.py"
    kept, values = place.read_text(), yaml.safe_load(Path("configs/pipelines/digits.yaml").read_text())
    file = settings.home / "edited.yaml"
    values["tune"] |= {"trials": 1, "workers": 1}
    del values["deploy"]  # whether the gate let one of them through was chance, and later rows ask for the champion
    file.write_text(yaml.safe_dump(values))
    runs = []
    try:
        for number in range(2):
            place.write_text(kept.replace('"lr", 3e-3', f'"lr", {3 - number}e-3'))
            runs.append(json.loads(_airloom("run", str(file), "--json"))["context"]["mlflow_run"])
    finally:
        place.write_text(kept)
    print(render(why(settings, *runs)))


def moved(settings: Settings) -> None:
    """Rename, compact, move; the copy has no process, and its old place is not looked at."""
    (one,) = _ask(settings, 1)
    _until(lambda: trace(settings, one).logged)
    client, before = mlflow_runs.client(settings), trace(settings, one)
    runs = [before.run.parent, before.run.train]
    for run in runs:
        client.update_run(run, name="a name of somebody's own")
    print(f"renamed {len(runs)} runs")
    command = [sys.executable, "-m", "airloom", "dataset", "compact", "digits"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print("compacted" if done.returncode == 0 else f"compacted already: {done.stderr.strip()}")
    place = settings.home.with_name("moved home")
    shutil.copytree(settings.home, place, ignore=shutil.ignore_patterns("run", "user", "*.sock"))
    other = Settings(home=place, project=settings.project)
    try:
        chains = [_chain(lineage.to_dict()) for lineage in (before, trace(settings, one), trace(other, one))]
        assert chains[0] == chains[1] == chains[2], chains
        first, second = (impact(home, "digits@v1") for home in (settings, other))
        assert (first.versions, first.models) == (second.versions, second.models)
    finally:
        shutil.rmtree(place)
    print("moved: the same chain, the same impact")


def _chain(found: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on how it was asked for, on names of runs, and on what is answered meanwhile."""
    chain = {part: found[part] for part in ("parameters", "code", "snapshot", "read", "dataset", "commits", "missing")}
    run, model = found["run"], found["model"]
    return chain | {"run": [run["parent"], run["train"]], "model": [model["name"], model["version"], model["gate"]]}


def _ask(settings: Settings, rows: int) -> list[str]:
    """Ask the running server; the ids of the answers."""
    body = {"model": "digits", "instances": [[[[0.5] * 8] * 8]] * rows}
    header = {"Authorization": f"Bearer {settings.model_token}"}
    url = f"{settings.model_server}/predict"
    return list(httpx.post(url, json=body, headers=header, timeout=30).raise_for_status().json()["prediction_ids"])


def _count(settings: Settings) -> int:
    return sum(totals.predictions(settings).values())


def _restart(settings: Settings, how: signal.Signals) -> None:
    """End the model server's processes; supervisord starts it again."""
    (server,) = [state.pid for state in control.states(settings) if state.name == "model-server"]
    family = [psutil.Process(server), *psutil.Process(server).children(recursive=True)]
    for process in family if how == signal.SIGKILL else family[:1]:
        os.kill(process.pid, how)
    psutil.wait_procs(family, timeout=30)
    _until(lambda: _answers(settings), 90)


def _answers(settings: Settings) -> bool:
    try:
        return bool(_ask_nothing(settings))
    except httpx.HTTPError:
        return False


def _ask_nothing(settings: Settings) -> Any:
    header = {"Authorization": f"Bearer {settings.model_token}"}
    return httpx.get(f"{settings.model_server}/status", headers=header).raise_for_status().json()["models"]


def _until(condition: Callable[[], Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.1)


def _airloom(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "airloom", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


if __name__ == "__main__":
    globals()[sys.argv[1]](load())
