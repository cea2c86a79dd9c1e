import stat
import subprocess
import sys
from pathlib import Path

import pytest

from airloom.stack import preload


@pytest.mark.parametrize(("process", "loaded"), [("scheduler", True), ("dag-processor", False)])
def test_only_the_scheduler_loads_what_tasks_need(tmp_path: Path, process: str, loaded: bool) -> None:
    preload.install(tmp_path)
    file = tmp_path / "config" / "airflow_local_settings.py"
    assert not stat.S_IMODE(file.stat().st_mode) & 0o077
    program = (
        "import runpy, sys; runpy.run_path(sys.argv[1]); "
        "print('mlflow' in sys.modules, any(name.startswith('airloom.pipeline') for name in sys.modules))"
    )
    command = [sys.executable, "-c", program, str(file), process]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(loaded), "False"]
