"""Two speeds: `make test` runs a seeded sample of the long matrices, `make test-full` (`--full`) runs them whole.

A matrix is marked `@pytest.mark.matrix(names, whole, sample=...)`: `whole` are the values as `parametrize` takes them,
`sample` is how many of them a quick run draws, or the values that it takes instead. What a test wants to be known it
says with `record_property`; it is printed at the end, and when all tests ran with `--full` kept in docs/acceptance/.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from services.warm import Warm, warm
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

# Set before torch or numpy is imported: in each of the workers a thread for every core would wait by spinning, on cores
# that the others need. Jobs get what their pipeline says.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
hypothesis.settings.register_profile("quick", max_examples=40)
PROJECT = Path(__file__).resolve().parents[1]
# A machine; FAB is no dependency of ours; models that packages of a hundred megabytes bring.
MAY_LACK = ("GPU", "apache-airflow-providers-fab", "buildah", "the extra llm")
REPORT = PROJECT / "docs" / "acceptance" / "test-full.md"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the long matrices whole, and keep the report")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for marker in metafunc.definition.iter_markers("matrix"):
        names, whole, sample = marker.args[0], list(marker.args[1]), marker.kwargs["sample"]
        if not metafunc.config.getoption("full"):
            drawn = random.Random(metafunc.definition.nodeid)  # the same sample in every run
            whole = drawn.sample(whole, min(sample, len(whole))) if isinstance(sample, int) else sample
        metafunc.parametrize(names, whole, ids=marker.kwargs.get("ids"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test marked `long` has no sample: it runs with --full only, or where it is named."""
    named = any("::" in argument for argument in config.args)
    long = [] if config.getoption("full") or named else [item for item in items if item.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """Workers share out files, those that take longest first; all that needs the started stack goes to one of them."""
    return Files(config, log)


# Half a minute and more, the longest first: a long file that begins last keeps one worker while the others are done.
# What is not here goes after these by its number of tests, as xdist does it.
LONGEST = (
    "tests/system",
    "tests/unit/airloom/cache/test_table.py",
    "tests/unit/airloom/training/checkpointing/test_resume.py",
    "tests/unit/airloom/installations/test_promote_from.py",
    "tests/dags/test_dataset_operators.py",
    "tests/unit/airloom/installations/test_two.py",
    "tests/unit/test_types.py",
    "tests/unit/test_gpu_check.py",
    "tests/unit/airloom/datasets/test_killed.py",
    "tests/unit/airloom/prediction/test_killed.py",
    "tests/unit/airloom/pipeline/test_workers.py",
    "tests/unit/airloom/training/test_other_kinds.py",
    "tests/unit/airloom/training/export/test_served_alike.py",
    "tests/unit/test_dependencies.py",
    "tests/unit/airloom/retention/test_killed.py",
    "tests/unit/airloom/training/reproducibility/test_again.py",
    "tests/unit/airloom/project/test_scaffold.py",
    "tests/unit/airloom/pipeline/test_rehearsal.py",
    "tests/unit/airloom/training/test_command.py",
    "tests/unit/airloom/tuning/worker/test_kills.py",
    "tests/unit/airloom/datasets/storage/test_repository.py",
    "tests/unit/airloom/datasets/snapshots/test_published.py",
    "tests/unit/airloom/stack/test_mlflow_app.py",
    "tests/unit/airloom/tuning/test_storage.py",
    "tests/unit/airloom/lineage/test_lineage_world.py",
    "tests/unit/airloom/datasets/test_full_disk.py",
    "tests/unit/airloom/datasets/test_model.py",
    "tests/dags/test_steps.py",
    "tests/dags/test_announcing.py",
)

# They share the process that forks trainings, which takes seconds to import what these need.
TRAINEE = (
    "tests/unit/airloom/training/checkpointing/test_resume.py",
    "tests/unit/airloom/training/test_job.py",
    "tests/unit/airloom/training/test_world.py",
)


class Files(LoadFileScheduling):
    """By files, the longest first; the system's are as one, and those of the trainee."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        if file in TRAINEE:
            return TRAINEE[0]
        return "tests/system" if file.startswith("tests/system/") else file

    def _assign_work_unit(self, node: WorkerController) -> None:
        longest = next((scope for scope in LONGEST if scope in self.workqueue), None)
        if longest:
            self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)


def _of_all_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary folder that all workers of this run have."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store: making its tables takes seconds, copying them does not. All workers have the same one."""
    from airloom.settings import Settings
    from airloom.tracking import runs

    settings = Settings(home=_of_all_workers(tmp_path_factory) / "store", tracking_uri="")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.setenv(name, "")  # `client` writes both
        runs.client(settings).search_experiments()  # one process makes the tables, under a lock
    return settings.home / "mlflow" / "mlflow.db"


@pytest.fixture(scope="session")
def warm_start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """What makes jobs and commands of ours start in tenths of a second; for tests of what they do, not of processes."""
    with warm(_of_all_workers(tmp_path_factory) / "warm") as made:
        yield made


@pytest.fixture(scope="module")
def warm_jobs(warm_start: Warm) -> Iterator[None]:
    """What a module's tests, and the jobs that they submit, start warm."""
    with warm_start.starts():
        yield


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    if not config.getoption("full"):
        hypothesis.settings.load_profile("quick")  # of tests that say no number of examples; a whole run has 100
    config.stash[BEGAN] = time.monotonic()


BEGAN = pytest.StashKey[float]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the figures, and keep the report of a full run; there only what is in `MAY_LACK` may skip."""
    stats = {kind: terminalreporter.stats.get(kind, []) for kind in ("passed", "failed", "error", "skipped")}
    seen = [(r.nodeid, *p) for kind in ("passed", "failed") for r in stats[kind] for p in r.user_properties]
    for name, key, value in seen:
        terminalreporter.write_line(f"{name}: {key}: {value}")
    if config.getoption("full") and config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        _keep(stats, seen, time.monotonic() - config.stash[BEGAN])


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [] if reporter is None else reporter.stats.get("skipped", [])
    unfit = [r for r in skipped if not any(word in str(r.longrepr) for word in MAY_LACK)]
    if session.config.getoption("full") and exitstatus == 0 and unfit:
        session.exitstatus = 1


def _keep(stats: dict[str, list], seen: list[tuple[str, str, object]], took: float) -> None:
    counts = ", ".join(f"{len(reports)} {kind}" for kind, reports in stats.items())
    machine = f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}"
    lines = [
        "# The long matrices, whole",
        "",
        f"`make test-full` at commit {_commit()}, {machine}, {took:.0f} s: {counts}.",
    ]
    lines += ["", "| test | | |", "|---|---|---|"]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in seen]
    wrong = [(kind, report) for kind in ("failed", "error", "skipped") for report in stats[kind]]
    lines += ["", *(f"- {kind}: {report.nodeid}" for kind, report in wrong)]
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text("\n".join(lines).rstrip() + "\n")


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True).stdout

    kept = REPORT.relative_to(PROJECT).as_posix()
    dirty = git("status", "--porcelain", "--untracked-files=no", "--", ".", f":!{kept}").strip()
    return git("rev-parse", "HEAD").strip() + (" (with changes that are not committed)" if dirty else "")
