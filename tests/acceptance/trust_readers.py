"""Small files as strangers have them, into data/; with the name of a version, what its first column holds."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from airloom.datasets import versions
from airloom.datasets.read import read
from airloom.settings import load


def write() -> None:
    """The inputs of the rows of trust.yaml."""
    import pandas as pd

    data = Path("data")
    data.mkdir(exist_ok=True)
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    (data / "any.json").write_text(json.dumps({"name": "any", "expectations": [rule]}))
    (data / "shops.csv").write_text('zip,code,turnover,label\n00501,"1",88.5,1\n00502,"2",35.0,0\n')
    (data / "patients.csv").write_text('patient,age,label\n"007",40,0\n"07",41,1\n"7",42,0\n"0007",43,1\n')
    users = [{"user": 18446744073709551000 + n, "score": n, "label": n % 2} for n in range(3)]
    (data / "users.jsonl").write_text("".join(json.dumps(user) + "\n" for user in users))
    (data / "weather.csv").write_text("when;temperature;label\n2026-01-01;20,5;0\n2026-01-02;21,0;1\n")
    (data / "latin1.CSV").write_bytes("city,visits,label\nZürich,1,0\nGenève,2,1\n".encode("latin-1"))
    lying = Image.Exif()
    lying[0x0112] = 6
    (data / "photos" / "up").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (3, 2), (9, 0, 0)).save(data / "photos" / "up" / "a.png", exif=lying)
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "label": [0, 1, 0, 1]})
    frame.iloc[[0, 3, 1]].to_parquet(data / "filtered.parquet")
    np.savez(data / "nhwc.npz", images=np.zeros((3, 8, 6, 3), np.uint8), labels=np.arange(3))
    np.savez(data / "float255.npz", images=np.full((3, 1, 4, 4), 255, np.float32), labels=np.arange(3))
    (data / "unlabelled.csv").write_text("x,label\n1,a\n2,\n3,b\n")
    pq.write_table(pa.table({"v": [[1.0, 2.0], [1.0, None]], "label": [0, 1]}), data / "lists.parquet")
    (data / "notes.jsonl").write_text('{"text": "good", "label": "y"}\n{"text": "bad", "label": "n"}\n')


def describe(name: str) -> None:
    """Count the different values of a version's first column."""
    settings = load()
    table = read(settings, versions.find(settings, name))
    values = table.column(0).to_pylist()
    print(f"{table.column_names[0]}: {len(values)} rows, {len(set(values))} different, {min(values)} to {max(values)}")


if __name__ == "__main__":
    describe(sys.argv[1]) if sys.argv[1:] else write()
