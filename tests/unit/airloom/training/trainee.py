"""Real trainings in processes of their own, started and killed quickly: one process imports everything, and forks.

It is no test. It reads requests, one JSON object a line, and answers each with what the attempt's processes ended with.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import mlflow.pytorch  # noqa: F401, TID253 - all this before the forks
import torch  # noqa: TID253
import torch._dynamo  # noqa: TID253 - a first optimizer would import it, in each fork
import torch.distributed  # noqa: TID253
import torch.optim  # noqa: TID253

from airloom.contracts import RunContext
from airloom.settings import Settings
from airloom.spec.pipeline import Pipeline
from airloom.training import TensorSource, train
from airloom.training.checkpointing import checkpoints

torch.set_num_threads(1)
checkpoints.FIRST = 0.001  # these trainings live for tenths of a second, and shall have checkpoints


def data() -> TensorSource:
    """603 and 100 rows: the last batch and the last group of an epoch are smaller."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(703, 1, 8, 8, generator=generator)
    labels = inputs.flatten(1)[:, :10].argmax(1)
    return TensorSource({"train": (inputs[:603], labels[:603]), "validation": (inputs[603:], labels[603:])})


def attempt(request: dict[str, Any], rank: int, port: int) -> None:
    """One attempt, in a forked process; never returns."""
    out = Path(request["out"])
    with (out / "log.txt").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    if request["ranks"] > 1:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": request["ranks"], "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in names.items()}, MASTER_ADDR="127.0.0.1")
    settings = Settings(home=Path(request["home"]), project=Path(request["project"]), tracking_uri="")
    ctx = RunContext.from_dict(request["ctx"])
    pipeline = Pipeline.model_validate(request["pipeline"])
    code = 1
    try:
        train.train(settings, pipeline, ctx, {}, data(), state=Path(request["state"]))
        code = 0
    except BaseException as error:
        (out / f"error-{rank}.txt").write_text(f"{type(error).__name__}: {error}")
    finally:
        os._exit(code)


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Start the ranks of an attempt, kill or stop one where asked for, and wait for all."""
    marks = Path(request["out"]) / "batches"
    pids = []
    for rank in range(request["ranks"]):
        pid = os.fork()
        if pid == 0:
            attempt(request, rank, request.get("port", 0))
        pids.append(pid)
    if request.get("at") is not None:
        while marks.stat().st_size < request["at"] and _runs(pids[0]):
            time.sleep(0.002)
        time.sleep(request.get("more", 0.0))
        for pid in pids if request["victim"] is None else [pids[request["victim"]]]:
            os.kill(pid, request["signal"])
    begun = time.monotonic()
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    return {"codes": codes, "seconds": time.monotonic() - begun, "batches": marks.stat().st_size}


def _runs(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)
