"""Lineage read from the stores that keep it: trace, impact, why. Nothing below reads it."""
