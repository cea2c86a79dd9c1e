"""Hyperparameter studies: a fixed number of trials, shared out to workers that may die and come back."""
