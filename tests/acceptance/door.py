"""What a person does in Python, from an empty folder: a project, a training, the champion's answer to raw rows."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

CREATE = "-m airloom dataset create shop data/rows.csv --label target --type tabular -m first"


def main() -> None:
    """Print what was seen; `project.yaml` compares."""
    with tempfile.TemporaryDirectory(prefix="airloom door ") as folder:
        for name in [name for name in os.environ if name.startswith("AIRLOOM_")]:
            del os.environ[name]
        _run(Path(folder), "-m", "airloom", "init", "shop", "--template", "blank")
        os.chdir(Path(folder) / "shop")
        _run(Path.cwd(), "-m", "shop.data")
        _run(Path.cwd(), *CREATE.split())
        _ask()


def _run(folder: Path, *words: str) -> None:
    subprocess.run([sys.executable, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def _ask() -> None:
    import airloom
    from airloom.errors import AirloomError
    from airloom.settings import load
    from airloom_serving.reconciler import Reconciler
    from airloom_serving.verdicts import Checkers

    print(repr(airloom.run("shop", progress=None)))
    model, settings = airloom.load_model("shop@champion"), load()
    rows = airloom.dataset("shop").version(1).split("test").to_pandas()
    checkers = Checkers(settings.home / "cache" / "verdicts")
    reconciler = Reconciler(settings, checkers)
    try:
        reconciler.once()
        served = reconciler.models["shop"]
        raw = rows[["a", "b"]].to_numpy().tolist()
        print("answered as the model server:", model.predict(rows) == served.answers(served.parse(raw)).predictions)
    finally:
        checkers.close()
    for name, wrong in (("refused", [[0.5, 0.5], [0.5, "much"]]), ("unknown", None)):
        try:
            model.predict(wrong) if wrong else airloom.load_model("shopp")
        except AirloomError as error:
            print(f"{name}:", " ".join(str(error).split()))


if __name__ == "__main__":
    main()
