"""Batch prediction: a model version answers the rows of a dataset version, part by part, each exactly once."""
