"""What `airloom doctor` says of NVIDIA devices; a machine with one is pretended by the tool that the driver brings."""

from pathlib import Path

import pytest

from airloom.stack import device_checks, report

CPU = "__version__ = '2.13.0+cpu'\ndebug = False\ncuda: Optional[str] = None\nhip: Optional[str] = None\n"
CUDA = "__version__ = '2.13.0+cu130'\ndebug = False\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Make one: how many devices the tool names, how many the driver has, and what torch says of itself."""

    def make(named: int, driven: int, torch: str) -> list[tuple[str, bool, str, str]]:
        tool, driver, packages = tmp_path / "bin" / "nvidia-smi", tmp_path / "gpus", tmp_path / "site"
        tool.parent.mkdir()
        (packages / "torch").mkdir(parents=True)
        if named:
            tool.write_text("#!/bin/sh\n" + "".join(f"echo {number}\n" for number in range(named)))
            tool.chmod(0o755)
        for number in range(driven):
            (driver / f"0000:0{number}:00.0").mkdir(parents=True)
        if torch:
            (packages / "torch" / "__init__.py").touch()
            (packages / "torch" / "version.py").write_text(torch)
        origin = packages / "torch" / "__init__.py" if torch else None
        monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
        monkeypatch.setattr(device_checks, "DRIVER", driver)
        found = None if origin is None else type("Spec", (), {"origin": str(origin)})
        monkeypatch.setattr(device_checks.importlib.util, "find_spec", lambda _: found)
        return [(found.check, found.ok, found.detail, found.fix) for found in device_checks.cuda()]

    return make


def test_a_torch_without_cuda_beside_a_device_is_named_with_the_command(machine) -> None:
    ((check, ok, detail, fix),) = machine(2, 2, CPU)
    assert (check, ok) == ("CUDA", False)
    assert "torch 2.13.0+cpu was built without CUDA: every job trains on the CPU" in detail
    assert fix.startswith("pip install --force-reinstall -c constraints.txt torch==2.13.0,")


def test_one_with_cuda_is_well(machine) -> None:
    assert machine(1, 1, CUDA) == [("CUDA", True, "cuda:0; torch 2.13.0+cu130 is for CUDA 13.0", "")]


def test_devices_that_no_job_can_lease_are_named(machine) -> None:
    first, second = machine(0, 1, CPU)
    assert first[:2] == ("devices", False) and "nvidia-smi does not name them" in first[2]
    assert second[:2] == ("CUDA", False)


@pytest.mark.parametrize(("named", "torch"), [(0, CPU), (0, ""), (1, "")])
def test_nothing_is_said_without_a_device_or_without_torch(machine, named: int, torch: str) -> None:
    assert machine(named, named, torch) == []


def test_the_installed_torch_is_read_as_it_says_of_itself() -> None:
    import torch

    assert device_checks.torch_build() == (torch.__version__, torch.version.cuda or "")


def test_doctor_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from airloom.settings import Settings
    from airloom.stack.finding import Finding

    asked = Finding("CUDA", False, "a device", "a command")
    monkeypatch.setattr(device_checks, "cuda", lambda: iter([asked]))
    assert asked in report.doctor(Settings(home=tmp_path / "none", project=tmp_path))
