"""The cost of a training over all its attempts."""

import pytest

from airloom.training.reporting.cost import Cost, total


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_file_that_a_power_cut_emptied_costs_its_share_and_no_training(tmp_path, caplog, text):
    Cost(tmp_path, 0).note()
    before = total(tmp_path, 10, 2.0)
    (tmp_path / "cost" / "0-0.json").write_text(text)
    assert total(tmp_path, 10, 2.0) == before
    assert "0-0.json" in caplog.text
