"""A generated history of data, runs and models, for tests of the lineage."""
