"""The embedded stack: start, health, stop, doctor."""
