"""A home with real git, DVC and MLflow, made-up digits, and a clock that can be set forward."""

import time

import numpy as np
import pytest

from airloom.datasets.commit import commit
from airloom.datasets.ingest.images import image_table
from airloom.datasets.storage.store import Store, md5_of
from airloom.retention.collect import collect, plan
from airloom.retention.items import Rules

DAY = 86_400.0
SUITE = "configs/expectations/digits.json"


def table(seed: int, rows: int = 40):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 10, rows)
    images = generator.uniform(0, 0.5, (rows, 64)).astype(np.float32)
    images[np.arange(rows), labels] = 1
    return image_table(images.reshape(-1, 1, 8, 8), labels)


class Home:
    """What the tests do to it."""

    def __init__(self, settings, suite) -> None:
        self.settings, self.suite = settings, suite

    def commit(self, seed: int, **options):
        return commit(self.settings, "digits", table(seed), message=f"seed {seed}", suite=self.suite, **options)

    def rules(self, days: float = 0, older_than: float = 30 * DAY) -> Rules:
        """As they are in so many days."""
        return Rules(time.time() + days * DAY, older_than, DAY)

    def plan(self, kind: str, days: float = 60, **options) -> dict:
        return {item.name: item for item in plan(self.settings, self.rules(days, **options)) if item.kind == kind}

    def collect(self, days: float = 60, **options) -> list:
        return collect(self.settings, self.rules(days, **options), print)

    def objects(self) -> dict[str, list]:
        """Paths by name, in cache and remote."""
        found: dict[str, list] = {}
        for place in (self.settings.dvc_cache, self.settings.dvc_remote_folder):
            for path in (place / "files" / "md5").glob("??/*"):
                found.setdefault(path.parent.name + path.name, []).append(path)
        return found

    def verify(self) -> int:
        """Every object of every version is whole, in the cache and in the remote; how many there are."""
        from airloom.datasets import versions

        store, count = Store(self.settings), 0
        remote = self.settings.dvc_remote_folder / "files" / "md5"
        for version in versions.list_versions(self.settings, "digits"):
            for at in {version.commit, versions.storage(self.settings, version)}:
                for shard in versions.manifest_of(self.settings, version, at).shards:
                    for name in (shard.md5, shard.index):
                        assert md5_of(store.path(name)) == name, f"{version.name}: {name} in the cache"
                        assert md5_of(remote / name[:2] / name[2:]) == name, f"{version.name}: {name} in the remote"
                        count += 1
        return count


@pytest.fixture
def home(make_home, tmp_path, request, monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
    return Home(make_home(tmp_path), request.config.rootpath / SUITE)
