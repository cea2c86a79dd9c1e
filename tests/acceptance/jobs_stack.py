"""What `jobs.yaml` tries on a started stack of its own: a person's wishes, down and up, and some crashes."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

TESTS = Path(__file__).resolve().parents[1]


def main() -> None:
    """All on one stack; each line says what was seen."""
    sys.path[:0] = [str(TESTS), str(TESTS / "system")]
    import test_jobs
    from crash import cells, matrix

    chosen = [
        cells.Cell("in_place", 1, "after submit", "task"),
        cells.Cell("in_place", 1, "mid-epoch", "job"),
        cells.Cell("in_place", 1, "mid-epoch", "supervisor"),
        cells.Cell("in_place", 1, "poll", "scheduler"),
        cells.Cell("deferred", 1, "poll", "triggerer"),
        cells.Cell("deferred", 2, "saving", "rank 1"),
    ]
    with matrix.stack() as (settings, api):
        baseline = matrix.undisturbed(settings, api)

        def airloom(*words: str) -> "subprocess.CompletedProcess[str]":
            environment = os.environ | {"AIRLOOM_HOME": str(settings.home), "AIRLOOM_PROJECT": str(settings.project)}
            command = [sys.executable, "-m", "airloom", *words]
            return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

        def say(name: str, text: str) -> None:
            print(f"{name}: {text}", flush=True)

        there = SimpleNamespace(settings=settings, run=airloom)
        for mode, ranks in (("in_place", 1), ("deferred", 1), ("in_place", 2), ("deferred", 2)):
            ends = test_jobs.test_marking_and_clearing_the_task_end_every_process_of_the_job_within_ten_seconds
            ends(there, api, mode, ranks, say)
        print(" | ".join(cells.HEAD))
        for cell in chosen:
            print(" | ".join(matrix.play(settings, api, baseline, cell)[0]), flush=True)
        test_jobs.test_down_stops_trainings_at_a_checkpoint_and_up_goes_on_with_them(there, api, baseline, say)


if __name__ == "__main__":
    main()
