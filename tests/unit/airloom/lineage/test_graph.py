"""Drawings of a lineage: well-formed SVG with every node, whatever the names hold."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from airloom.errors import ConfigError
from airloom.lineage.graph import MOST, Graph, draw, of_impact, of_trace, save
from airloom.lineage.impact import impact
from airloom.lineage.trace import trace

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314 - our own


def test_a_trace_is_drawn_from_source_to_model(world) -> None:
    made = world.register("first")
    graph = of_trace(trace(world.settings, f"{made.model}/1"))
    shown = texts(draw(graph))
    for name in ("digits@v2", f"{made.model}/1", "width=8", world.snapshot.id[:12]):
        assert name in shown
    assert len([node for node in graph.nodes if node[0] == "commit"]) == 2
    assert (("dataset", "digits@v2"), ("snapshot", world.snapshot.id[:12])) in graph.edges


def test_an_impact_is_drawn_to_the_predictions(world) -> None:
    made = world.register("first")
    found = impact(world.settings, "digits@v1")
    found = replace(found, models=[model for model in found.models if model.name == made.model])
    shown = texts(draw(of_impact(found)))
    assert {"digits@v1", "digits@v2", f"{made.model}/1", "0 predictions"} <= set(shown)
    elsewhere = replace(found, models=[replace(model, predictions=None) for model in found.models])
    assert "counted elsewhere" in texts(draw(of_impact(elsewhere)))


def test_a_long_column_ends_in_one_node_for_the_rest() -> None:
    graph = Graph(["commit", "dataset"])
    graph.add_some("commit", [(f"c{n}", (), ()) for n in range(1000)])
    graph.add("dataset", "d", on=[("commit", f"c{n}") for n in range(1000)])
    assert len(graph.nodes) == MOST + 1
    assert f"… {1000 - MOST + 1} more" in texts(draw(graph))
    assert len(graph.edges) == MOST - 1


def test_names_of_any_kind_make_valid_svg() -> None:
    graph = Graph(["commit"])
    graph.add("commit", '<script>alert("x")</script>&\0\x1b[31m', "\ud800 and \u202e", "ö" * 500)
    svg = draw(graph)
    assert "<script>" not in svg
    assert any(text.startswith("<script") for text in texts(svg))


@pytest.mark.parametrize("name", ["graph.png", "graph", "missing/graph.svg"])
def test_a_file_that_cannot_be_is_said(tmp_path: Path, name: str) -> None:
    graph = Graph(["commit"])
    graph.add("commit", "c")
    with pytest.raises(ConfigError, match="--graph"):
        save(graph, tmp_path / name)
    save(graph, tmp_path / "graph.svg")
    assert (tmp_path / "graph.svg").read_text().startswith("<svg")
