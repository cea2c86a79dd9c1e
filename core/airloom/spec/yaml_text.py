"""YAML as people mean it: `1e-3` is a number, the key `on` a word, and a key that stands twice is an error."""

import re
from typing import Any

import yaml

from airloom.spec import limited_yaml

# YAML 1.1, which PyYAML reads, wants a point and a sign (`1.0e-3`), else it is text; in YAML 1.2 it is a number.
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+$")


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> Any:
        """Refuse a key that stands twice: PyYAML would take the last one and say nothing."""
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                continue
            if key.tag == "tag:yaml.org,2002:bool":  # YAML 1.1 has more of these than YAML 1.2: on, off, yes, no
                key.tag = "tag:yaml.org,2002:str"
            if (key.tag, key.value) in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add((key.tag, key.value))
        return node


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def read(text: str) -> Any:
    """The values of a YAML text.

    Raises:
        YAMLError: it is none, has a key twice in one mapping, or is larger than `limited_yaml` takes.
    """
    return limited_yaml.load(text, _Loader)
