"""`python.json` beside a model that no graph can express: which class of which commit answers with its weights.

    code        `net.py:Net`, or `shop.net:Net` as it is imported
    path        the folder below the project's root in which that import looks
    arguments   of the class, with which it is built
    commit      of the project
    torch       that trained it
    by_name     whether forward is called by keyword
    inputs      name, dtype, shape of each; the first dimension is the batch, one of any size has a name
    outputs     likewise

It names code and holds none. The code is taken from the project's own repository, never from the store.
"""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from airloom.errors import CorruptFile
from airloom.signature import Port, Signature

FILE, WEIGHTS = "python.json", "model.safetensors"
SERVED_BY = ("onnx", "python")


@dataclass(frozen=True)
class Coded:
    """What the file holds."""

    code: str
    path: str
    arguments: dict[str, Any]
    commit: str
    torch: str
    by_name: bool
    signature: Signature

    @classmethod
    def parse(cls, data: bytes | str) -> "Coded":
        """Of a file.

        Raises:
            CorruptFile: it is none.
        """
        try:
            values = json.loads(data)
            ports = [tuple(map(_port, values.pop(side))) for side in ("inputs", "outputs")]
            made = cls(**values, signature=Signature(*ports))
            if not all(isinstance(text, str) for text in (made.code, made.path, made.commit)):
                raise TypeError("code, path and commit are texts")
            if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", made.commit):  # a branch would be today's code
                raise ValueError(f"{made.commit[:80]!a} is no commit")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            message = f"{FILE} does not say which code answers: {type(error).__name__}: {str(error)[:200]}"
            raise CorruptFile(message, "register the model again") from None
        return made

    def dumps(self) -> str:
        """The file's text."""
        values = {name: value for name, value in vars(self).items() if name != "signature"}
        sides = {"inputs": self.signature.inputs, "outputs": self.signature.outputs}
        return json.dumps(values | {side: [asdict(port) for port in ports] for side, ports in sides.items()}, indent=1)


def _port(values: dict[str, Any]) -> Port:
    return Port(str(values["name"]), str(values["dtype"]), tuple(values["shape"]))
