"""Registered models and their versions, with lineage and cards; MLflow's registry is the only store."""
