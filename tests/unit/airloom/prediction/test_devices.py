"""A batch prediction that has leased a device says so where the CPU answers after all."""

from types import SimpleNamespace

import onnxruntime  # noqa: TID253 - what is replaced
import pytest

from airloom.inference.model import CPU
from airloom.prediction.answer import CUDA, _on_devices


class Loads:
    """In place of `LoadedModel.load`: knows what it was asked for, and loads what this machine could."""

    def __init__(self, *can: str) -> None:
        self.asked, self._can = None, list(can)

    def __call__(self, providers):
        self.asked = providers
        return SimpleNamespace(session=SimpleNamespace(get_providers=lambda: self._can))


@pytest.mark.parametrize(
    ("devices", "available", "can", "said"),
    [
        ((), [CUDA, *CPU], CPU, ""),
        (("cuda:0",), CPU, CPU, "knows no CUDA"),
        (("cuda:0",), [CUDA, *CPU], CPU, "could not load CUDA's libraries"),
        (("cuda:0",), [CUDA, *CPU], (CUDA, *CPU), ""),
    ],
)
def test_the_cpu_answers_never_silently_for_a_device(devices, available, can, said, monkeypatch, caplog) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(available))
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    loads = Loads(*can)
    _on_devices(devices, loads)
    on_device = bool(devices) and CUDA in available
    assert loads.asked == ([(CUDA, {"use_tf32": "0"}), *CPU] if on_device else CPU)
    assert (said in caplog.text) if said else not caplog.text
