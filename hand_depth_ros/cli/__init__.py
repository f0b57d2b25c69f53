"""The `hand-depth` command: its table of sub-commands and their shared options."""
