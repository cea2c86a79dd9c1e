"""On a started stack, which ends with the last of these tests: idle, it takes half a core from those that follow."""
