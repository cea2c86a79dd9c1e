"""State folders of earlier releases hold what they held. tests/kept/make.py says how each was made."""

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from kept import make
from typer.testing import CliRunner

from airloom.cli.main import app
from airloom.settings import Settings
from airloom_serving.reconciler import Reconciler
from airloom_serving.served import ServedModel
from airloom_serving.verdicts import Checkers

RELEASES = sorted(file.stem for file in make.FOLDER.glob("*.json"))
ELSEWHERE = ("folder", "place")  # of a value: where the home was


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was recorded of a release; its home stands below another folder, and AIRLOOM_HOME names it."""
    with tarfile.open(make.FOLDER / f"{request.param}.tar.xz") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # not before Python 3.11.4
        archive.extractall(tmp_path)  # noqa: S202 - our own
    (tmp_path / "home").chmod(0o700)
    for name in [name for name in os.environ if name.startswith(("AIRLOOM_", "MLFLOW_TRACKING"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AIRLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    record = json.loads((make.FOLDER / f"{request.param}.json").read_text())
    return record | {"release": request.param, "home": tmp_path / "home"}


def airloom(*words: str) -> Any:
    """What a command says, as JSON."""
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, f"{words}: {done.output} {done.exception!r}"
    return json.loads(done.stdout)


def differences(then: Any, now: Any, where: str = "") -> list[str]:
    """What is no longer as it was; a key that is new is none, as a later release may say more."""
    if isinstance(then, dict) and isinstance(now, dict):
        return [
            line
            for key, value in then.items()
            if key not in ELSEWHERE
            for line in (differences(value, now[key], f"{where}.{key}") if key in now else [f"{where}.{key} is gone"])
        ]
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        pairs = enumerate(zip(then, now, strict=True))
        return [line for number, pair in pairs for line in differences(*pair, f"{where}[{number}]")]
    return [] if then == now and type(then) is type(now) else [f"{where} was {then!r}, is {now!r}"]


def test_every_release_kept_one_and_small() -> None:
    assert RELEASES
    assert all((make.FOLDER / f"{name}.tar.xz").stat().st_size < 300_000 for name in RELEASES)


def test_it_is_migrated_says_what_it_said_and_answers_as_it_did(
    release: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By every door; of the model the signature is verified, and its files come from the store's new place."""
    airloom("db", "migrate")
    assert {store["state"] for store in airloom("db", "check")} == {"current"}
    folder, home = tmp_path / "servers", release["home"]
    folder.mkdir()
    with make.served(make.mlflow(home), "/health", dict(os.environ), folder) as url:
        for name, value in make.of_server(home, url).items():
            monkeypatch.setenv(name, value)
        changed = {}
        for door in release["doors"]:
            if lines := differences(door["said"], airloom(*door["asked"])):
                changed[" ".join(door["asked"])] = lines
        assert changed == {}
        model = _loaded(tmp_path / "verdicts")
    answers = model.answers(model.parse(make.QUESTION))
    assert answers.predictions == pytest.approx(release["answer"]["predictions"], rel=1e-6)


def _loaded(verdicts: Path) -> ServedModel:
    """The champion, as the model server loads it."""
    checkers = Checkers(verdicts)
    reconciler = Reconciler(Settings(), checkers)
    try:
        reconciler.once()
    finally:
        checkers.close()
    return reconciler.models["shop"]
