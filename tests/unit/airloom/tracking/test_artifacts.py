import pytest

from airloom.errors import CorruptFile, RegistryError
from airloom.tracking.artifacts import ONNX, fetch_model


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture
def trained(small):
    return small.train(small.ctx())


def test_files_come_whole_and_a_damaged_cache_is_fetched_again(small, trained, tmp_path):
    cache = fetch_model(small.settings, trained.model_uri, trained.digests, tmp_path / "cache" / "m")
    whole = small.store_file(trained.model_uri).read_bytes()
    assert (cache / ONNX).read_bytes() == whole
    flip(cache / ONNX)
    (cache / "planted.py").write_text("")
    assert fetch_model(small.settings, trained.model_uri, trained.digests, cache) == cache
    assert (cache / ONNX).read_bytes() == whole
    assert not (cache / "planted.py").exists()
    assert [path.name for path in cache.parent.iterdir()] == ["m"]


@pytest.mark.parametrize("harm", ["flip", "remove", "add"])
def test_a_harmed_store_is_refused_by_name_and_leaves_nothing(small, trained, tmp_path, harm):
    file, name = small.store_file(trained.model_uri), ONNX
    if harm == "flip":
        flip(file)
    elif harm == "remove":
        file.unlink()
    else:
        name = "extra_files/code.py"
        file.with_name("code.py").write_text("")
    with pytest.raises(CorruptFile, match=name):
        fetch_model(small.settings, trained.model_uri, trained.digests, tmp_path / "cache" / "m")
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_digests_nothing_is_loaded(small, trained, tmp_path):
    with pytest.raises(RegistryError, match="no digests"):
        fetch_model(small.settings, trained.model_uri, {}, tmp_path / "m")
    assert not (tmp_path / "m").exists()
