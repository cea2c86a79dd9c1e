"""`python -m airloom` is the `airloom` command, also where a script's first line cannot be followed."""

from airloom.cli.main import main

main()
