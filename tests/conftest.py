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
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

PROJECT = Path(__file__).resolve().parents[1]
REPORT = PROJECT / "docs" / "acceptance" / "test-full.md"
MAY_BE_MISSING = ("GPU", "buildah")  # on a machine that runs everything else


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
    """Workers share out files; all that needs the started stack goes to one of them, and first, as it takes longest."""
    return Files(config, log)


class Files(LoadFileScheduling):
    """By files, the system's as one."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        if file == "tests/unit/test_types.py":  # one test of a minute: by itself it would be the last of all
            return "tests/unit/airloom/datasets/test_commands.py"
        return "tests/system" if file.startswith("tests/system/") else file


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    config.stash[BEGAN] = time.monotonic()


BEGAN = pytest.StashKey[float]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the figures, and keep the report of a full run; there only what MAY_BE_MISSING may skip."""
    stats = {kind: terminalreporter.stats.get(kind, []) for kind in ("passed", "failed", "error", "skipped")}
    seen = [(r.nodeid, *p) for kind in ("passed", "failed") for r in stats[kind] for p in r.user_properties]
    for name, key, value in seen:
        terminalreporter.write_line(f"{name}: {key}: {value}")
    if config.getoption("full") and config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        _keep(stats, seen, time.monotonic() - config.stash[BEGAN])


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [] if reporter is None else reporter.stats.get("skipped", [])
    unexplained = [report for report in skipped if not any(word in str(report.longrepr) for word in MAY_BE_MISSING)]
    if session.config.getoption("full") and exitstatus == 0 and unexplained:
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
