"""YAML of people: what would multiply itself in memory, or end the parser, is refused before it is built."""

from typing import Any

import yaml

CHARACTERS = 200_000  # of a text; the parser reads some hundred thousand in a second
NODES = 50_000  # of a text whose aliases are written out
DEPTH = 100


def load(text: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """The value of a YAML text.

    Raises:
        yaml.YAMLError: it is none, too large, nested too deep, or its aliases multiply it.
    """
    if len(text) > CHARACTERS:
        raise yaml.YAMLError(f"it has {len(text)} characters, at most {CHARACTERS} are read")
    reader = loader(text)
    try:
        root = reader.get_single_node()
        if root is None:
            return None
        _count(root, {}, 0)
        return reader.construct_document(root)
    except RecursionError:
        raise yaml.YAMLError(f"it is nested more than {DEPTH} deep") from None
    finally:
        reader.dispose()


def _count(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """How many nodes stand below this one where each alias is written out."""
    if depth > DEPTH:
        raise yaml.YAMLError(f"it is nested more than {DEPTH} deep")
    if id(node) in known:
        if not known[id(node)]:
            raise yaml.YAMLError(f"an alias holds itself, {node.start_mark}")
        return known[id(node)]
    known[id(node)] = 0  # at work
    below: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        below = node.value
    elif isinstance(node, yaml.MappingNode):
        below = [part for pair in node.value for part in pair]
    total = 1 + sum(_count(part, known, depth + 1) for part in below)
    if total > NODES:
        raise yaml.YAMLError(f"with its aliases written out it has more than {NODES} values")
    known[id(node)] = total
    return total
