"""Run by test_full_disk.py: `full_disk.py FOLDER PROJECT tmpfs|limit BYTES…` commits with so much room, a line each."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from airloom.datasets import versions
from airloom.datasets.commit import commit
from airloom.datasets.ingest.images import image_table
from airloom.datasets.read import read
from airloom.datasets.validation import quarantine
from airloom.errors import AirloomError
from airloom.settings import Settings

folder, project, how, *levels = sys.argv[1:]
root = Path(folder)
if how == "tmpfs":
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", folder], check=True)
settings = Settings(home=root / "home", project=Path(project))


def batch(seed, good=True):
    random = np.random.default_rng(seed)
    images = random.uniform(0.1, 0.6, (2000, 1, 8, 8)).astype(np.float32)
    return image_table(images, random.integers(0, 10, 2000) + (0 if good else 77))


def starve(free):
    if how == "tmpfs":
        used = shutil.disk_usage(folder)
        (root / "filler").write_bytes(bytes(max(0, used.free - free)))
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (free, resource.RLIM_INFINITY))


def feed():
    (root / "filler").unlink(missing_ok=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def attempt(table):
    try:
        return commit(settings, "digits", table, message="m").name
    except AirloomError as error:
        return f"{type(error).__name__}: {error}"


commit(settings, "digits", batch(0), message="one")
for seed, free in enumerate(map(int, levels), 1):
    before = [v.number for v in versions.list_versions(settings, "digits")]
    starve(free)
    said = attempt(batch(seed, good=seed % 4 != 0))
    feed()
    after = [v.number for v in versions.list_versions(settings, "digits")]
    retried = attempt(batch(seed))
    latest = versions.latest(settings, "digits")
    whole = read(settings, latest).slice(latest.rows - 2000).equals(batch(seed))
    left = [p.name for place in ("data/cache/**/*.tmp", "quarantine/.*") for p in (root / "home").glob(place)]
    new = len(after) - len(before)
    record = {"free": free, "said": said, "new": new, "retried": retried, "whole": whole, "left": left}
    print(json.dumps(record), flush=True)
    for held in quarantine.list_batches(settings):
        quarantine.open_batch(settings, held.id)
