"""Hyperparameter studies: a fixed number of trials, shared out to workers that may die and come back."""

from airloom.tuning.finish import finish
from airloom.tuning.study import create
from airloom.tuning.work import work

__all__ = ["create", "finish", "work"]
