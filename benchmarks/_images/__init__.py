"""What `benchmarks/images.py` measures."""
