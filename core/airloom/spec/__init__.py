"""What a pipeline file may say: the checked definition of a pipeline."""
