"""Real trainings in processes of their own, started and killed quickly: one process imports everything, and forks.

It is no test. It reads requests, one JSON object a line, and answers each with what the attempt's processes ended with.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
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
from airloom.training.world import joined

torch.set_num_threads(1)
checkpoints.FIRST = 0.001  # these trainings live for tenths of a second, and shall have checkpoints


def data() -> TensorSource:
    """603 and 100 rows: the last batch and the last group of an epoch are smaller."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(703, 1, 8, 8, generator=generator)
    labels = inputs.flatten(1)[:, :10].argmax(1)
    return TensorSource({"train": (inputs[:603], labels[:603]), "validation": (inputs[603:], labels[603:])})


def forked(work: Callable[[int], None], ranks: int) -> list[int]:
    """The pids of processes that do the work of a rank each, and end without coming back."""
    pids = []
    for rank in range(ranks):
        pid = os.fork()
        if pid == 0:
            try:
                work(rank)
            finally:
                os._exit(1)
        pids.append(pid)
    return pids


def codes_of(pids: list[int]) -> list[int]:
    """Wait for all; how they ended."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def leave(request: dict[str, Any], rank: int) -> None:
    """Join and leave the other ranks again and again, with a model that outlives each group."""
    signal.alarm(request["limit"])  # it ends this process also where a thread waits for the GIL
    os.environ.update(WORLD_SIZE=str(request["ranks"]), RANK=str(rank), MASTER_ADDR="127.0.0.1")
    for port in request["leave"]:
        os.environ["MASTER_PORT"] = str(port)
        with joined():
            model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 8))
            for _ in range(3):
                model(torch.randn(4, 8)).sum().backward()
        del model
    os._exit(0)


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
    if "leave" in request:
        return {"codes": codes_of(forked(lambda rank: leave(request, rank), request["ranks"]))}
    marks = Path(request["out"]) / "batches"
    pids = forked(lambda rank: attempt(request, rank, request.get("port", 0)), request["ranks"])
    if request.get("at") is not None:
        while marks.stat().st_size < request["at"] and _runs(pids[0]):
            time.sleep(0.002)
        time.sleep(request.get("more", 0.0))
        for pid in pids if request["victim"] is None else [pids[request["victim"]]]:
            os.kill(pid, request["signal"])
    begun = time.monotonic()
    return {"codes": codes_of(pids), "seconds": time.monotonic() - begun, "batches": marks.stat().st_size}


def _runs(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)
