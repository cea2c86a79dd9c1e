import pytest

from airloom.training.hints import hint_of


@pytest.mark.parametrize(
    ("error", "parameters", "hint"),
    [
        (ValueError("Expected more than 1 value per channel when training, got [1, 8]"), {}, "drop_last=True"),
        (IndexError("Target 7 is out of bounds."), {}, "labels are 0 to classes - 1"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), {}, "lower batch_size"),
        (TypeError("linear(): argument 'input' (position 1) must be Tensor, not dict"), {}, "fit(named=True)"),
        (AttributeError("'dict' object has no attribute 'size'"), {}, "fit(named=True)"),
        (TypeError("'<=' not supported between 'float' and 'str'"), {"rate": "1e-3", "name": "a"}, "rate is '1e-3'"),
        (KeyError("width"), {"rate": "1e-3"}, "the log has the traceback"),
    ],
)
def test_an_error_that_everybody_meets_says_what_to_do(error, parameters, hint):
    assert hint in hint_of(error, parameters)
    assert hint_of(error, parameters).endswith("the log has the traceback")
