"""Pipeline files: what they may say, and the steps that they wire."""
