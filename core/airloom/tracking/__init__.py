"""What ties runs, models and datasets together: MLflow and the lineage records."""
