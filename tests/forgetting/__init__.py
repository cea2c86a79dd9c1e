"""People with keys, one of whom asks to be forgotten."""
