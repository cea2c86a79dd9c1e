"""Storing and reading datasets against torch in memory, Hugging Face datasets, litdata, webdataset and DVC itself.

The rows of an epoch are compared by their hashes before anything is timed, then all sides take turns. Ratios are by CPU
time, children counted; the kept result has those by wall time too. `--quick` shows on small data that everything runs.
"""

import sys

from benchmarks import _peers

if __name__ == "__main__":
    _peers.ensure()
    from benchmarks._datasets.main import main

    sys.exit(main())
