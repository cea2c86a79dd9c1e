"""Metrics, and the statistical gate."""
