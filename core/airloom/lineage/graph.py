"""A lineage as a graph in SVG: a column a kind, from the data on the left to what stands on them on the right.

Written by hand, since the layout is given by the kinds: no installed library draws one without the graphviz program.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as xml

from airloom.errors import ConfigError
from airloom.lineage.impact_record import Impact
from airloom.lineage.trace_record import Lineage, TracedCommit

ColumnEntry = tuple[str, Sequence[str], Sequence[tuple[str, str]]]  # of a column: name, lines, what it stands on
MOST = 12  # nodes in a column; the rest stand in one
WIDTH, GAP, LINE, PAD = 190, 70, 16, 9  # pixels
COLOURS = {
    "source": "#eceff1",
    "commit": "#e3f2fd",
    "shard": "#e3f2fd",
    "dataset": "#bbdefb",
    "snapshot": "#b2dfdb",
    "run": "#fff3c4",
    "training": "#ffe0b2",
    "model": "#e1bee7",
    "prediction": "#f8bbd0",
    "predictions": "#f8bbd0",
}


@dataclass(frozen=True)
class Node:
    """A box: its kind, which decides column and colour, a title, and lines below it."""

    kind: str
    name: str
    lines: Sequence[str] = ()

    @property
    def id(self) -> tuple[str, str]:
        """What edges name it by."""
        return self.kind, self.name


@dataclass
class Graph:
    """Nodes in columns, and edges from what is earlier to what stands on it."""

    columns: list[str]  # kinds, from left to right
    nodes: dict[tuple[str, str], Node] = field(default_factory=dict)
    edges: list[tuple[tuple[str, str], tuple[str, str]]] = field(default_factory=list)

    def add(self, kind: str, name: str, *lines: str, on: Sequence[tuple[str, str]] = ()) -> tuple[str, str]:
        """Add a node that stands on others; a second one of the same kind and name is the same node.

        Args:
            kind: its column.
            name: its title.
            *lines: the text below the title.
            on: the ids of the nodes that it stands on; of those that were not added no edge is drawn.

        Returns:
            The node's id.
        """
        node = self.nodes.setdefault((kind, name), Node(kind, name, lines))
        self.edges += [(below, node.id) for below in on if below in self.nodes and (below, node.id) not in self.edges]
        return node.id

    def add_some(self, kind: str, entries: Sequence[ColumnEntry]) -> None:
        """Add a column of nodes; of very many the first, and one node for the rest."""
        shown = entries if len(entries) <= MOST else entries[: MOST - 1]
        for name, lines, on in shown:
            self.add(kind, name, *lines, on=on)
        rest = entries[len(shown) :]
        if rest:
            below = sorted({node for _, _, on in rest for node in on})
            self.add(kind, f"… {len(rest):,} more", "--json has all", on=below)


def of_trace(lineage: Lineage) -> Graph:
    """The graph of what `trace` answered."""
    graph = Graph(["source", "commit", "dataset", "snapshot", "run", "training", "model", "prediction"])
    commits = [commit for place, commit in enumerate(lineage.commits) if commit.rows or place == 0]
    sources = {commit.source: None for commit in commits[:MOST] if commit.source}
    graph.add_some("source", [(source, (), ()) for source in sources])
    graph.add_some("commit", [_commit_entry(commit) for commit in commits])
    on = [node for node in graph.nodes if node[0] == "commit"]
    last = graph.add("dataset", lineage.dataset.version or "unknown", f"id {lineage.dataset.id[:12]}", on=on)
    rows = [f"{name} {count:,}" for name, count in lineage.read.rows.items()] if lineage.read else []
    last = graph.add("snapshot", lineage.snapshot[:12] or "unknown", *rows, on=[last])
    run = lineage.run
    last = graph.add("run", run.pipeline_run or run.parent[:12], f"MLflow {run.parent[:12]}", on=[last])
    parameters = [f"{name}={value}" for name, value in sorted(lineage.parameters.items())][:5]
    code = [f"code {lineage.code['code.sha256'][:12]}"] if "code.sha256" in lineage.code else []
    last = graph.add("training", (run.train or run.id)[:12] or "none", *code, *parameters, on=[last])
    _add_models(graph, lineage, last)
    return graph


def _commit_entry(commit: TracedCommit) -> ColumnEntry:
    lines = (commit.version, f"{commit.author}: {commit.message}", f"{commit.rows:,} rows")
    return commit.commit[:12], lines, [("source", commit.source)]


def _add_models(graph: Graph, lineage: Lineage, training: tuple[str, str]) -> None:
    """The model, or the models of a run that made several; below each the prediction that was asked for."""
    model = lineage.model
    aliases = [f"@{alias}" for alias in model.aliases] if model else []
    for name in [f"{model.name}/{model.version}"] if model else lineage.models or []:
        node = graph.add("model", name, *aliases, on=[training])
        if lineage.prediction:
            row = lineage.logged
            lines = [f"answer {row.prediction}", row.time.isoformat()[:19]] if row else ["its log row is not kept"]
            if batch := lineage.batch:
                lines = [f"row {batch.row} of {batch.dataset}", "batch prediction"]
            graph.add("prediction", lineage.prediction, *lines, on=[node])


def of_impact(impact: Impact) -> Graph:
    """The graph of what `impact` answered."""
    first = "shard" if impact.kind == "shard" else "commit"
    graph = Graph([first, "dataset", "snapshot", "run", "model", "predictions"])
    root = graph.add(first, impact.name[:40], impact.kind)
    graph.add_some("dataset", [(v.name, (f"{v.rows:,} rows of it",), [root]) for v in impact.versions])
    graph.add_some(
        "snapshot", [(s.id[:12], (f"{s.rows:,} rows of it",), [("dataset", s.version)]) for s in impact.snapshots]
    )
    with_model = {model.run for model in impact.models}
    runs = sorted(impact.runs, key=lambda run: (run.id not in with_model, run.kind == "trial"))
    graph.add_some(
        "run", [(r.id[:12], (r.kind or "pipeline run", r.name), [("snapshot", r.snapshot[:12])]) for r in runs]
    )
    rest = next((node for node in graph.nodes if node[0] == "run" and node[1].startswith("…")), ("run", ""))
    models = list[ColumnEntry]()
    for model in impact.models:
        run = ("run", model.run[:12])
        given = "counted elsewhere" if model.predictions is None else f"{model.predictions:,} predictions"
        lines = [given, *(f"@{alias}" for alias in model.aliases)]
        models.append((f"{model.name}/{model.version}", lines, [run if run in graph.nodes else rest]))
    graph.add_some("model", models)
    shown = [node for node in graph.nodes if node[0] == "model"]
    graph.add("predictions", f"{impact.predictions:,} predictions", on=shown)
    return graph


def save(graph: Graph, path: Path) -> None:
    """Draw the graph into a file.

    Raises:
        ConfigError: the file's name does not end with .svg, or it cannot be written.
    """
    if path.suffix.lower() != ".svg":
        raise ConfigError(f"--graph {str(path)!r}: the graph is drawn as SVG", "give a name that ends with .svg")
    try:
        path.write_text(draw(graph), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--graph {path}: {error.strerror}", "give a file in a folder that is there") from None


def draw(graph: Graph) -> str:
    """The graph as SVG."""
    columns = _ordered(graph)
    tall = max(_height(column) for column in columns)
    places: dict[tuple[str, str], tuple[int, float, int]] = {}
    for number, column in enumerate(columns):
        x, y = GAP // 2 + number * (WIDTH + GAP), 40 + (tall - _height(column)) / 2
        for node in column:
            places[node.id] = (x, y, _box(node))
            y += _box(node) + LINE
    wide, high = len(columns) * (WIDTH + GAP), tall + 60
    attributes = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {wide} {high}", "width": f"{wide}"}
    svg = xml.Element("svg", attributes | {"height": f"{high}", "font-family": "Helvetica, Arial, sans-serif"})
    xml.SubElement(svg, "rect", {"width": "100%", "height": "100%", "fill": "white"})
    for number, column in enumerate(columns):
        _text(svg, GAP // 2 + number * (WIDTH + GAP), 24, column[0].kind, {"font-size": "12", "fill": "#78909c"})
    for start, end in graph.edges:
        _edge(svg, places[start], places[end])
    for node in graph.nodes.values():
        _draw_node(svg, node, places[node.id])
    return xml.tostring(svg, encoding="unicode") + "\n"


def _ordered(graph: Graph) -> list[list[Node]]:
    """The columns that are not empty; their nodes ordered as what they stand on is, so that few edges cross."""
    columns, place = list[list[Node]](), dict[tuple[str, str], float]()  # place: from 0, the top, to 1
    for kind in graph.columns:
        column = [node for node in graph.nodes.values() if node.kind == kind]
        middle = {}
        for node in column:
            below = [place[start] for start, end in graph.edges if end == node.id]
            middle[node.id] = sum(below) / len(below) if below else 0.0
        column.sort(key=lambda node: (node.name.startswith("…"), middle[node.id]))
        place |= {node.id: number / len(column) for number, node in enumerate(column)}
        columns += [column] if column else []
    return columns


def _box(node: Node) -> int:
    return LINE * (1 + len(node.lines)) + 2 * PAD


def _height(column: list[Node]) -> int:
    return sum(_box(node) + LINE for node in column) - LINE


def _draw_node(svg: xml.Element, node: Node, place: tuple[int, float, int]) -> None:
    x, y, height = place
    group = xml.SubElement(svg, "g")
    xml.SubElement(group, "title").text = _clean("; ".join([node.name, *node.lines]))  # the whole text, on hovering
    shape = {"x": f"{x}", "y": f"{y:.1f}", "width": f"{WIDTH}", "height": f"{height}", "rx": "5"}
    xml.SubElement(group, "rect", shape | {"fill": COLOURS[node.kind], "stroke": "#90a4ae"})
    for number, line in enumerate([node.name, *node.lines]):
        style = {"font-size": "11", "fill": "#455a64"} if number else {"font-size": "12", "font-weight": "bold"}
        _text(group, x + PAD, y + PAD + 12 + LINE * number, _cut(line, 22 if number == 0 else 29), style)


def _cut(text: str, most: int) -> str:
    """A text of at most so many characters; the middle is left out, since names often begin or end alike."""
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-(most - most // 2) :]}"


def _text(parent: xml.Element, x: float, y: float, text: str, style: dict[str, str]) -> None:
    xml.SubElement(parent, "text", {"x": f"{x}", "y": f"{y:.1f}", **style}).text = _clean(text)


def _clean(text: str) -> str:
    """The text without control characters, which XML does not allow."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _edge(svg: xml.Element, start: tuple[int, float, int], end: tuple[int, float, int]) -> None:
    x, y = start[0] + WIDTH, start[1] + start[2] / 2
    to_x, to_y = end[0] - 5, end[1] + end[2] / 2
    middle = (x + to_x) / 2
    path = f"M{x},{y:.1f} C{middle:.1f},{y:.1f} {middle:.1f},{to_y:.1f} {to_x},{to_y:.1f}"
    xml.SubElement(svg, "path", {"d": path, "fill": "none", "stroke": "#90a4ae", "stroke-width": "1.3"})
    head = f"M{to_x + 5},{to_y:.1f} l-7,-3.5 v7 z"
    xml.SubElement(svg, "path", {"d": head, "fill": "#90a4ae"})
