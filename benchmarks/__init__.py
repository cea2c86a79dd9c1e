"""What things cost, measured: `make bench NAME=jobs` runs `benchmarks/jobs.py` as the module `benchmarks.jobs`.

A benchmark is never run by its file's path: Python would put this folder first on `sys.path`, and `import datasets`
would find `benchmarks/datasets.py` instead of Hugging Face's package.
"""
