"""State folders that earlier releases left, and what they held: `make.py` makes one of the present release."""
