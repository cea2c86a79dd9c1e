"""The images, built and their health checks run inside, where `buildah` and `mmdebstrap` are and we are root.

A base of Debian stands for the one of a registry. The host's pip configuration comes in as the Dockerfile wants it, and
its certificates are mounted; a build downloads some hundred megabytes.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from images import files
from images.processes import free_port

MISSING = [name for name in ("buildah", "mmdebstrap") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(
        bool(MISSING) or os.geteuid() != 0, reason=f"buildah, mmdebstrap and root are needed: {MISSING}"
    ),
]
TLS = "/etc/ssl/certs"
MIRROR = "AIRLOOM_TEST_DEBIAN"  # a mirror of Debian's, where its own is not reached
MOST = {"mlflow": 1500, "server": 1700}  # megabytes


class Builder:
    """buildah with a store of its own."""

    def __init__(self, folder: Path) -> None:
        store, run = folder / "store", folder / "run"
        self._words = ["buildah", "--storage-driver", "vfs", "--root", str(store), "--runroot", str(run)]

    def __call__(self, *words: str) -> str:
        done = subprocess.run([*self._words, *words], cwd=files.PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"buildah {' '.join(words)}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout.strip()

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([*self._words, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """A builder that has Debian's base as `localhost/base`."""
    folder = tmp_path_factory.mktemp("images")
    mirror = [os.environ[MIRROR]] if MIRROR in os.environ else []
    base = folder / "context" / "base.tar"
    base.parent.mkdir()
    debian = ["mmdebstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", str(base), *mirror]
    subprocess.run(debian, check=True, capture_output=True)
    (base.parent / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
    builder = Builder(folder)
    builder("bud", "--isolation", "chroot", "--tag", "base", str(base.parent))
    yield builder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("target", ["mlflow", "server"])
def test_an_image_is_built_runs_without_rights_and_is_well(
    build: Builder, tmp_path: Path, record_property, target: str
) -> None:
    pip = tmp_path / "pip.conf"
    pip.write_text(f"[global]\ncert = {TLS}/ca-certificates.crt\n")
    options = ["--isolation", "chroot", "--pull-never", "--layers=false", "--network", "host"]
    options += ["--volume", f"{TLS}:{TLS}:ro", "--secret", f"id=pip,src={pip}", "--build-arg", "BASE=localhost/base"]
    options += ["--ignorefile", "docker/Dockerfile.dockerignore", "--file", "docker/Dockerfile"]
    build("bud", *options, "--target", target, "--tag", target, ".")
    container = build("from", "--pull-never", f"localhost/{target}")
    try:
        root = Path(build("mount", container))
        size = sum(file.lstat().st_size for file in root.rglob("*") if file.is_file() and not file.is_symlink()) / 1e6
        record_property(f"image {target}", f"{size:.0f} MB")
        assert size < MOST[target]
        assert not list(root.glob("usr/bin/*gcc*")) and not list(root.glob("opt/airloom/bin/pip*"))
        assert not (root / "source").exists() and not list(root.glob("root/.cache/*"))
        assert not (root / "etc" / "pip.conf").exists() or not (root / "etc" / "pip.conf").read_text()
        _well(build, container, target)
    finally:
        build("rm", container)


def _well(build: Builder, container: str, target: str) -> None:
    stage, port = files.stages()[target], free_port()
    inside = ["run", "--isolation", "chroot", "--network", "host"]
    environment = {"AIRLOOM_SERVER_TOKEN": "of-nothing-else", "MLFLOW_TRACKING_PASSWORD": "of-nothing-else"}
    environment |= {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_BACKEND_STORE_URI": "sqlite:////tmp/mlflow.db",
    }
    variables = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
    assert build(*inside, container, "--", "id", "-u") == "10001"
    assert (
        build(*inside, container, "--", "python", "-c", "import importlib.util as u; print(u.find_spec('torch'))")
        == "None"
    )
    process = build.start(*inside, *variables, container, "--", *_here(stage.command, port))
    try:
        end = time.monotonic() + 600
        while True:
            try:
                build(*inside, container, "--", *_here(stage.health, port))
                return
            except AssertionError:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(2)
    finally:
        # `buildah run` ends without what it started: the server inside would live on.
        started = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        for each in started:
            with suppress(psutil.NoSuchProcess):
                each.terminate()
        for each in psutil.wait_procs(started, 30)[1]:
            each.kill()
        process.wait(60)


def _here(words: list[str], port: int) -> list[str]:
    """Words of the image on this machine: the network is the host's, so on loopback and a free port."""
    found = [word.replace("0.0.0.0", "127.0.0.1") for word in words]  # noqa: S104
    return [re.sub(r"(?<![\d.])(3000|5000)\b", str(port), word) for word in found]
