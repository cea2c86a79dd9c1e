"""Make the example's data: 569 tumours, thirty measures of each, from scikit-learn's copy of the Wisconsin study."""

import sys
from pathlib import Path

from sklearn.datasets import load_breast_cancer


def main(folder: Path) -> None:
    """Write `tumours.csv`: the measures, and the column diagnosis."""
    folder.mkdir(parents=True, exist_ok=True)
    study = load_breast_cancer(as_frame=True)
    table = study.data.rename(columns=lambda name: name.replace(" ", "_"))
    table["diagnosis"] = [str(study.target_names[number]) for number in study.target]
    table.to_csv(folder / "tumours.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data"))
