"""`make types` as a test, so that it has a core beside the others rather than one before them."""

import pytest
from mypy import api


@pytest.mark.timeout(900)
def test_every_module_is_typed_strictly(pytestconfig, monkeypatch) -> None:
    monkeypatch.chdir(pytestconfig.rootpath)
    said, wrong, status = api.run([])
    assert status == 0, said + wrong
