"""What the benchmark of projects can be told without installing anything."""

import tomllib
from pathlib import Path

from benchmarks import _roles, project


def test_it_names_the_templates_where_one_is_unknown(capsys) -> None:
    assert project.main(["blank", "nothing"]) == 2
    assert "no template nothing; there are: image, text, table, blank" in capsys.readouterr().err


def test_its_roles_are_extras_of_the_wheel() -> None:
    extras = tomllib.loads((_roles.PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    measured = {extra for role in _roles.ROLES.values() for extra in role.split(",")}
    assert measured == set(extras) - {"dev", "llm", "postgres"}


def test_it_asks_a_table_with_a_row_of_its_data(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b,target\n0.5,-1,2\n1,2,3\n")
    assert project._instance("blank", tmp_path / "rows.csv") == [0.5, -1.0]
