"""How `airloom model show` says what goes into a model and what comes out."""

import numpy as np

from airloom.cli.models import _ports


def test_a_signature_is_names_types_and_shapes() -> None:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    def tensor(kind: type, shape: tuple[int, ...], name: str | None = None) -> TensorSpec:
        return TensorSpec(np.dtype(kind), shape, name)

    one = ModelSignature(Schema([tensor(np.float32, (-1, 3, 32, 32))]), Schema([tensor(np.float32, (-1, 3))]))
    assert _ports(one.to_dict()) == "float32 (any, 3, 32, 32) -> float32 (any, 3)"
    inputs = Schema([tensor(np.int64, (-1, -1), "input_ids"), tensor(np.int64, (-1, -1), "attention_mask")])
    several = ModelSignature(inputs, Schema([tensor(np.float32, (-1, 2), "logits")]))
    assert _ports(several.to_dict()) == (
        "input_ids int64 (any, any), attention_mask int64 (any, any) -> logits float32 (any, 2)"
    )
    table = ModelSignature(Schema([ColSpec("double", "miles")]))
    assert _ports(table.to_dict()) == "miles double -> nothing"
    assert _ports({"error": "gone"}) == "error=gone"
    assert _ports({}) == ""
