"""The parts of `benchmarks/datasets.py`, one file a side or subject."""
