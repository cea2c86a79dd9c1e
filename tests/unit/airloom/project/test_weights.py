"""Weights of a training: found, fixed by digest, given out only while they are what they were."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from airloom.contracts import PretrainedWeights
from airloom.errors import ConfigError, DataError
from airloom.project.weights import Pretrained, in_project, resolved
from airloom.spec.weights import WeightsSection

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def entry(**values: object) -> WeightsSection:
    return WeightsSection.model_validate({"name": "encoder", **values})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_OFFLINE", "")  # so that it is put back
    (tmp_path / "weights" / "deep").mkdir(parents=True)
    (tmp_path / "weights" / "x.safetensors").write_bytes(b"first")
    (tmp_path / "weights" / "deep" / "config.json").write_bytes(b"{}")
    return tmp_path


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub's cache as huggingface_hub lays it out: blobs, and links to them."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    model = tmp_path / "hub" / "models--some--model"
    (model / "blobs").mkdir(parents=True)
    (model / "blobs" / "b1").write_bytes(b"weights")
    (model / "snapshots" / COMMIT).mkdir(parents=True)
    (model / "snapshots" / COMMIT / "model.safetensors").symlink_to("../../blobs/b1")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(COMMIT)
    return model


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    site = tmp_path / "place" / "site-packages"
    for name, text in {
        "small_model/__init__.py": "",
        "small_model/model/a.bin": "a",
        "small_model/__pycache__/x.pyc": "junk",
        "small_model-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: small-model\nVersion: 1.2\n",
    }.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    record = "small_model/__init__.py,,\nsmall_model/model/a.bin,,\nsmall_model/__pycache__/x.pyc,,\n"
    (site / "small_model-1.2.dist-info" / "RECORD").write_text(record + "small_model-1.2.dist-info/METADATA,,\n")
    monkeypatch.syspath_prepend(str(site))
    return site / "small_model"


def test_a_file_has_the_digest_that_sha256sum_says(project: Path) -> None:
    found = resolved(project, [entry(path="weights/x.safetensors")])
    assert found["encoder"].sha256 == hashlib.sha256(b"first").hexdigest()
    assert found["encoder"].files == {"x.safetensors": found["encoder"].sha256}
    assert Pretrained(project, found).path("encoder") == project / "weights" / "x.safetensors"
    assert in_project(found) == ["weights/x.safetensors"]


def test_a_folder_has_a_digest_of_all_its_files(project: Path) -> None:
    found = resolved(project, [entry(path="weights")])
    assert list(found["encoder"].files) == ["deep/config.json", "x.safetensors"]
    assert sorted(in_project(found)) == ["weights/deep/config.json", "weights/x.safetensors"]
    assert Pretrained(project, found).path("encoder") == project / "weights"


def test_a_file_that_changed_is_refused_by_name(project: Path) -> None:
    weights = Pretrained(project, resolved(project, [entry(path="weights")]))
    weights.path("encoder")
    (project / "weights" / "deep" / "config.json").write_bytes(b"[]")
    with pytest.raises(DataError, match=r"weights encoder: deep/config\.json of .* changed since the run began"):
        weights.path("encoder")
    (project / "weights" / "deep" / "config.json").write_bytes(b"{}")
    weights.path("encoder")
    (project / "weights" / "new").touch()
    with pytest.raises(DataError, match="encoder: new of"):
        weights.path("encoder")


def test_one_that_went_away_is_told(project: Path) -> None:
    weights = Pretrained(project, resolved(project, [entry(path="weights/x.safetensors")]))
    (project / "weights" / "x.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"encoder: there is no file 'weights/x\.safetensors'"):
        weights.path("encoder")


def test_a_model_of_the_cache_is_fixed_by_its_commit(project: Path, cached: Path) -> None:
    found = resolved(project, [entry(hub="some/model")])
    assert found["encoder"].source == {"hub": "some/model", "revision": COMMIT}
    assert found["encoder"].found == f"hub some/model@{COMMIT[:12]}"
    (cached / "refs" / "main").write_text("f" * 40)  # somebody fetched a newer one
    place = Pretrained(project, found).path("encoder")
    assert place.name == COMMIT
    assert (place / "model.safetensors").read_bytes() == b"weights"
    assert in_project(found) == []


def test_a_blob_that_changed_is_refused(project: Path, cached: Path) -> None:
    found = resolved(project, [entry(hub="some/model", path="model.safetensors")])
    (cached / "blobs" / "b1").write_bytes(b"others!")
    with pytest.raises(DataError, match=r"model\.safetensors"):
        Pretrained(project, found).path("encoder")


@pytest.mark.parametrize("revision", ["", "v2"])
def test_one_that_is_not_cached_says_the_command(project: Path, cached: Path, revision: str) -> None:
    with pytest.raises(ConfigError, match=r"other/model at (main|v2) is not in the hub's cache") as caught:
        resolved(project, [entry(hub="other/model", revision=revision)])
    command = f"`hf download other/model{' --revision v2' if revision else ''}`"
    assert command in caught.value.hint
    assert "network: true" in caught.value.hint


def test_a_check_fetches_nothing(project: Path, cached: Path) -> None:
    assert resolved(project, [entry(hub="other/model", network=True)], fetch=False) == {}


def test_a_package_is_its_files_without_what_python_writes(project: Path, package: Path) -> None:
    found = resolved(project, [entry(package="small-model")])
    assert list(found["encoder"].files) == ["__init__.py", "model/a.bin"]
    assert found["encoder"].found == "package small-model 1.2"
    assert Pretrained(project, found).path("encoder") == package
    part = resolved(project, [entry(package="small_model", path="model")])
    assert list(part["encoder"].files) == ["a.bin"]
    assert Pretrained(project, part).path("encoder") == package / "model"


def test_a_package_that_is_not_installed_says_how(project: Path) -> None:
    with pytest.raises(ConfigError, match="no-such-thing is not installed") as caught:
        resolved(project, [entry(package="no-such-thing")])
    assert caught.value.hint == "pip install no-such-thing"


def test_a_name_that_the_file_does_not_have(project: Path) -> None:
    weights = Pretrained(project, resolved(project, [entry(path="weights")]))
    with pytest.raises(ConfigError, match="no weights 'decoder'; it names encoder"):
        weights.path("decoder")


def test_a_link_out_of_the_project_is_refused(project: Path, tmp_path: Path) -> None:
    (project / "weights" / "link").symlink_to("/etc/hostname")
    with pytest.raises(ConfigError, match="leads out of the project"):
        resolved(project, [entry(path="weights")])


@pytest.mark.parametrize(("network", "offline"), [(False, "1"), (True, "")])
def test_no_library_fetches_by_itself_unless_the_file_says_so(
    project: Path, network: bool, offline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {"hub": "some/model"} | ({"network": True} if network else {})
    Pretrained(project, {"encoder": PretrainedWeights(source, "", "")})
    assert os.environ["HF_HUB_OFFLINE"] == offline


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "needs one of path"),
        ({"hub": "a/b", "package": "c"}, "one of hub and package"),
        ({"path": "/etc/passwd"}, "leads out"),
        ({"path": "a/../../b"}, "leads out"),
        ({"hub": "a/b", "revision": "../../x"}, "leads out"),
        ({"path": "x", "network": True}, "go with hub"),
        ({"hub": "a/b/c"}, "String should match"),
        ({"path": "x", "nmae": 1}, "Extra inputs"),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(values: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        entry(**values)


@settings(max_examples=25, deadline=None)
@given(files=st.dictionaries(st.from_regex(r"[a-z]{1,4}(/[a-z]{1,4}\.bin)?", fullmatch=True), st.binary(max_size=8)))
def test_each_change_of_a_name_or_a_byte_is_another_digest(
    files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    def digest(contents: dict[str, bytes]) -> str:
        root = tmp_path_factory.mktemp("weights")
        (root / "w").mkdir()
        for name, data in {"first.bin": b"1", **contents}.items():
            path = root / "w" / name.replace("/", "-")
            path.write_bytes(data)
        return resolved(root, [entry(path="w")])["encoder"].sha256

    before = digest(files)
    assert digest(files) == before
    assert digest({**files, "more.bin": b""}) != before
    for name, data in files.items():
        assert digest({**files, name: data + b"x"}) != before
