"""Takes away what nothing needs any more: objects of datasets, checkpoints, job folders, models, prediction logs."""
