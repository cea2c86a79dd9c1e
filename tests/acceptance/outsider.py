"""What an outsider tries on a running stack: `outsider.py ACTION`, in the project's folder."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

from airloom.demo import rounds
from airloom.demo.digits import load_digits
from airloom.demo.traffic import Traffic
from airloom.demo.view import Lines
from airloom.settings import Settings, load
from airloom.stack import control, report
from airloom.stack.airflow_api import AirflowApi
from airloom.tracking import runs


def killed_demo(settings: Settings) -> None:
    """SIGKILL the demo as soon as the first version is committed; the stack goes on alone."""
    demo = subprocess.Popen([sys.executable, "-m", "airloom", "demo"], stderr=subprocess.PIPE, text=True)
    for line in demo.stderr or ():
        if "digits@v1 committed" in line:
            demo.kill()
            break
    assert demo.wait() == -signal.SIGKILL, "the demo ended before it could be killed"
    with AirflowApi(load()) as api:
        run = rounds.find_run(api, "digits", 1)
        rounds.wait(api, "digits", run, "alone", Lines())
        found = next(r for r in api.dag_runs("digits") if r["dag_run_id"] == run)
    print(found["run_type"], found["state"])
    print(f"serves digits version {_served(load())['models']['digits']['version']}")


def stranger(settings: Settings) -> None:
    """git clone, dvc pull, pyarrow; nothing of Airloom."""
    import pyarrow as pa

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "-q", str(settings.data_repo), folder], check=True)
        subprocess.run([sys.executable, "-m", "dvc", "pull", "-q"], cwd=folder, check=True)
        rows = sum(
            pa.ipc.open_file(str(path)).read_all().num_rows for path in Path(folder).glob("digits/shards/*.arrow")
        )
    print(f"{rows} rows")


def alias(settings: Settings) -> None:
    """Move the champion with MLflow's own client; the server follows in the same process."""
    client, pid = runs.client(settings), _served(settings)["pid"]
    traffic = Traffic(settings, "digits", load_digits().instances)
    for version in ("1", "2"):
        began = time.monotonic()
        client.set_registered_model_alias("digits", "champion", version)
        while traffic.ask()["version"] != version:
            assert time.monotonic() - began < 10, f"version {version} is not served after 10 s"
            time.sleep(0.1)
        print(f"followed to {version} in {time.monotonic() - began:.1f} s")
        assert report.status(settings).served["digits"]["version"] == version
    assert _served(settings)["pid"] == pid
    print("pid unchanged")


def clear(settings: Settings) -> None:
    """Clear `evaluate` of the second version's run."""
    with AirflowApi(settings) as api:
        run = rounds.find_run(api, "digits", 2)
        before = api.xcom("digits", run, "resolve")["mlflow_run"]
        api.clear("digits", run, "evaluate")
        time.sleep(2)
        tasks = rounds.wait(api, "digits", run, "cleared", Lines())
        print(f"train tried {tasks['train']['try_number']}, evaluate tried {tasks['evaluate']['try_number']}")
        assert api.xcom("digits", run, "resolve")["mlflow_run"] == before
    client = runs.client(settings)
    experiment = client.get_run(before).info.experiment_id
    assert len(client.search_runs([experiment], f"tags.`airloom.key` = 'digits/{run}'")) == 1
    print("same MLflow run")


def links(settings: Settings) -> None:
    """What Airflow says of the first version's run: how it was started, and where its training links to."""
    with AirflowApi(settings) as api:
        run = rounds.find_run(api, "digits", 1)
        print(next(found["run_type"] for found in api.dag_runs("digits") if found["dag_run_id"] == run))
        print(api._request("GET", f"/api/v2/dags/digits/dagRuns/{run}/taskInstances/train/links"))


def help_cpu(settings: Settings) -> None:
    """CPU seconds of `airloom --help`: user and system, the median of five."""
    command, took = [str(Path(sys.executable).parent / "airloom"), "--help"], []
    for _ in range(5):
        before = os.times()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        took.append(after.children_user - before.children_user + after.children_system - before.children_system)
    print(f"{sorted(took)[2]:.2f} s of CPU")


def sockets(settings: Settings) -> None:
    """List what listens."""
    pids = {process.pid for process in control.strays(settings)}
    found = {c.laddr.ip for c in psutil.net_connections("inet") if c.pid in pids and c.status == psutil.CONN_LISTEN}
    assert found == {"127.0.0.1"}, found
    print("only 127.0.0.1")


def kill_all(settings: Settings) -> None:
    """SIGKILL every process of the stack at once."""
    found = control.strays(settings)
    for process in found:
        with contextlib.suppress(ProcessLookupError):  # some end with their parents
            os.kill(process.pid, signal.SIGKILL)
    print(f"killed {len(found)} processes")


def leftovers(settings: Settings) -> None:
    """Count what still carries this state folder in its environment."""
    count = 0
    for process in psutil.process_iter():
        try:
            count += process.pid != os.getpid() and process.environ().get("AIRLOOM_HOME") == str(settings.home)
        except psutil.Error:
            continue
    print(f"{count} processes left")


def _served(settings: Settings) -> dict:
    headers = {"Authorization": f"Bearer {settings.model_token}"}
    return httpx.get(f"{settings.model_server}/status", headers=headers, timeout=10).json()


if __name__ == "__main__":
    actions = {
        f.__name__.replace("_", "-"): f
        for f in (killed_demo, stranger, alias, clear, links, help_cpu, sockets, kill_all, leftovers)
    }
    actions[sys.argv[1]](load())
