import pytest

from airloom.errors import CorruptFile, RegistryError
from airloom.tracking.artifacts import ONNX, fetch_model, model_id


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


HOSTILE_ADDRESSES = [
    "models:/..",
    "models:/../x",
    "models:/m-0123",
    "models:/m-" + "0" * 32 + "/../..",
    "models:/m-" + "0" * 32 + "\n",
    "models:/digits/3",
    "models:/digits@champion",
    "file:///etc",
    "runs:/0/model",
    "/etc",
    "http://127.0.0.1/m-" + "0" * 32,
    "",
]


@pytest.mark.parametrize("uri", HOSTILE_ADDRESSES)
def test_an_address_of_another_form_is_refused_before_anything_is_touched(small, trained, uri):
    served = small.settings.home / "cache" / "served"
    mine = fetch_model(small.settings, trained.model_uri, trained.digests, served / model_id(trained.model_uri))
    with pytest.raises(RegistryError, match="no address of a model's files"):
        fetch_model(small.settings, uri, trained.digests, served / uri.rpartition("/")[2])
    assert (mine / ONNX).is_file()
    assert [path.name for path in served.iterdir()] == [mine.name]
