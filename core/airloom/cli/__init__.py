"""The `airloom` command: one file a group of commands."""
