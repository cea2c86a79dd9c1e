"""`batch.py loop MODEL DATASET FILE`: a plain loop over the dataset says what the file of a batch prediction says."""

import sys

import numpy as np
import pyarrow.parquet as pq

import airloom

AT_ONCE = 97  # rows, as nobody else cuts them


def loop(model: str, name: str, file: str) -> None:
    """Ask the model of each row through `load_model`, a few at a time, and compare."""
    dataset, _, number = name.partition("@v")
    rows, loaded = airloom.dataset(dataset).version(int(number)).table(), airloom.load_model(model)
    pixels = np.stack(rows.column("image").to_pylist()).astype(np.float32)
    images, said = pixels.reshape(-1, *loaded.inputs[0].shape), []
    for at in range(0, len(images), AT_ONCE):
        said += loaded.predict(images[at : at + AT_ONCE])
    table = pq.read_table(file)
    if table.column("prediction").to_pylist() != said or table.column("row").to_pylist() != list(range(len(said))):
        sys.exit("the loop says something else")
    print(f"first id {table.column('prediction_id')[0]}")
    print(f"a plain loop says the same of {len(said)} rows")


if __name__ == "__main__":
    {"loop": loop}[sys.argv[1]](*sys.argv[2:])
