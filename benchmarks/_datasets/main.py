"""What `benchmarks/datasets.py` measures, in which order, against which targets."""

import argparse
import shutil
import tempfile
import warnings
from pathlib import Path

from benchmarks._datasets import data, history, home, opening, races, storage
from benchmarks._datasets.data import FULL, QUICK, Sizes
from benchmarks._datasets.measure import by_cpu, by_wall
from benchmarks._datasets.reading import Race
from benchmarks._report import PROJECT, Report, Target

TARGETS: dict[str, Target | None] = {
    "images_vs_tensordataset": (">=", 4.5),
    "images_vs_gather_floor": (">=", 0.4),
    "text_vs_list": (">=", 0.85),
    "blob_views_vs_list": (">=", 2.5),
    "images_vs_hf_arrow": (">=", 3),
    "images_vs_litdata": (">=", 4),
    "images_vs_webdataset": (">=", 50),
    "full_commit_vs_write_and_hash": ("<=", 1.6),
    "append_vs_full_commit": ("<=", 0.03),
    "append_vs_dvc_files": ("<=", 1 / 50),
    "append_bytes_ratio": ("<=", 1.02),
    "row_fix_bytes": ("<=", 64 * 1024),  # beyond the row itself
    "fetch_vs_dvc_files": ("<=", 1 / 5),
    "resume_state_bytes": ("<=", 1024),
    "resume_seek_ms": ("<=", 50),
    "first_batch_ms": ("<=", 50),
    "log_10000_versions_s": ("<=", 0.5),
    "validation_cpu_s": None,
}
READING = {
    "images_vs_tensordataset": ("images", "tensordataset"),
    "images_vs_gather_floor": ("images", "floor"),
    "images_vs_hf_arrow": ("images", "datasets"),
    "images_vs_litdata": ("images", "litdata"),
    "images_vs_webdataset": ("images", "webdataset"),
    "text_vs_list": ("texts", "list"),
    "blob_views_vs_list": ("blobs", "list"),
}


def main() -> int:
    """Measure and report; 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.datasets")
    parser.add_argument("--quick", action="store_true", help="small data, two rounds; its figures mean nothing")
    sizes = QUICK if parser.parse_args().quick else FULL
    _prepare()
    report = Report("datasets-quick" if sizes is QUICK else "datasets", TARGETS)
    scratch = PROJECT / ".cache"
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=scratch) as folder:
        _measure(Path(folder), sizes, report)
    return report.finish()


def _prepare() -> None:
    import torch

    torch.set_num_threads(1)  # a gather by several would only cost all sides more CPU
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


def _measure(folder: Path, sizes: Sizes, report: Report) -> None:
    made = data.blobs(sizes.blobs)
    settings = home.make(folder / "reading")
    found = {"images": races.images(settings, folder / "peers", sizes)}
    _show(found["images"].table("images 3x32x32, batches of 256"))
    found["texts"] = races.texts(settings, sizes)
    _show(found["texts"].table("texts of 93 letters, batches of 256"))
    found["blobs"] = races.blobs(settings, made, sizes)
    _show(found["blobs"].table("blobs of 20 KB, batches of 256"))
    _report_reading(report, found)
    _opening(report, opening.measure(settings, races.newest(settings, "images"), sizes))
    past = history.measure(folder / "history", races.manifest(settings, "blobs"), sizes.versions, sizes.rounds)
    _history(report, past)
    for path in (folder / "reading", folder / "history"):
        shutil.rmtree(path)
    _storing(report, storage.measure(folder / "storing", made, sizes))
    report.note(sizes=vars(sizes), data="made up, incompressible, page cache warm")


def _report_reading(report: Report, found: dict[str, Race]) -> None:
    for key, (kind, peer) in READING.items():
        report.add(key, found[kind].times(peer, by_cpu))
    by_wall_clock = {key: _two_digits(found[kind].times(peer, by_wall)) for key, (kind, peer) in READING.items()}
    report.note(reading_by_wall=by_wall_clock, reading={kind: race.record() for kind, race in found.items()})


def _opening(report: Report, found: opening.Opening) -> None:
    report.add("resume_state_bytes", [found.state_bytes])
    report.add("resume_seek_ms", found.seek_ms)
    report.add("first_batch_ms", found.first_ms)
    report.note(first_batch_with_imports_ms=found.process_ms)
    shown = {"to the first batch": found.first_ms, "the same, process and imports included": found.process_ms}
    shown["to the next batch amid a million rows"] = found.seek_ms
    _show("\n".join(f"{name:72}{sorted(ms)[len(ms) // 2]:>10.1f} ms" for name, ms in shown.items()))


def _history(report: Report, found: history.History) -> None:
    report.add("log_10000_versions_s", found.slower)
    report.note(history=vars(found))
    shown = {"airloom dataset log": found.log_s, "airloom dataset show": found.show_s}
    _show("\n".join(f"{name:72}{sorted(s)[len(s) // 2]:>10.3f} s" for name, s in shown.items()))


def _storing(report: Report, found: storage.Storage) -> None:
    for key, values in found.figures(by_cpu).items():
        report.add(key, values)
    report.add("append_bytes_ratio", [stored.append_ratio for stored in found.rounds])
    report.add("row_fix_bytes", [stored.fix_bytes for stored in found.rounds])
    report.add("validation_cpu_s", [stored.full.validation.cpu for stored in found.rounds])
    by_wall_clock = {key: _two_digits(values) for key, values in found.figures(by_wall).items()}
    report.note(storing_by_wall=by_wall_clock, storing=found.record())
    _show(found.table())


def _two_digits(values: list[float]) -> list[float]:
    return [float(f"{value:.3g}") for value in values]


def _show(table: str) -> None:
    print(f"{table}\n", flush=True)
