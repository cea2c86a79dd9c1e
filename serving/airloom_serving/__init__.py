"""The model server: a BentoML service that serves what the registry says."""
