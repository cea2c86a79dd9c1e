"""The runs of this home as a client of MLflow without Airloom sees them: what each read, its rows, and who ran it."""

import os
import subprocess
import sys
import sysconfig

CLIENT = """
import importlib.util, sys, warnings
sys.path.append(sys.argv[1])
assert importlib.util.find_spec("airloom") is None
print("airloom is not importable here")
warnings.simplefilter("ignore")
import mlflow, numpy, pyarrow.dataset
mlflow.set_tracking_uri(sys.argv[2])
for run in mlflow.search_runs(search_all_experiments=True, output_format="list"):
    for read in run.inputs.dataset_inputs:
        if read.dataset.source_type == "dvc":
            continue  # of an earlier release
        folder = mlflow.data.get_source(read).load()
        table = pyarrow.dataset.dataset(folder + "/shards", format="arrow").to_table()
        rows = table.take(numpy.load(folder + "/rows.npy"))
        split = folder.rstrip("/").rpartition("/")[2]
        print(f"{read.dataset.name} {split}: {rows.num_rows} rows, by {run.info.user_id}")
"""


def main() -> int:
    """Start such a client: -S leaves out the site's .pth files, by which this checkout is found."""
    from airloom.settings import load
    from airloom.tracking.runs import LOGIN

    settings = load()
    command = [sys.executable, "-I", "-S", "-c", CLIENT, sysconfig.get_path("purelib"), settings.mlflow_uri]
    login = dict(zip(LOGIN, settings.mlflow_credentials or (), strict=False))  # as `airloom env` prints it
    return subprocess.run(command, env=os.environ | login, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
