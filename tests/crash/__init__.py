"""Crashes on a started stack: what is killed where, seen and done from outside, by pid."""
