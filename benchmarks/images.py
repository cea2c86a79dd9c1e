"""Picture files and token lists on their way to a model, against torchvision, litdata, Hugging Face and webdataset.

Each side reads the same files in a process of its own, round by round in turn; the pixels of all rows, and the tokens,
are compared by their hashes before anything is timed. `--quick` shows on small data that everything runs.
"""

import sys

from benchmarks import _peers

if __name__ == "__main__":
    _peers.ensure()
    from benchmarks._images.main import main

    sys.exit(main())
