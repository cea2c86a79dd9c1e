import pytest


@pytest.fixture
def small(make_home, make_world, tmp_path):
    """A pipeline `small` with a registry of its own."""
    return make_world(make_home(tmp_path), "small")
