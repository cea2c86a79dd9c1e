"""What a training run reads of a version: snapshots, their files, and the split."""
