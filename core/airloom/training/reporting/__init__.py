"""What a training says while it runs: its journal, MLflow, cost, the line of progress."""
