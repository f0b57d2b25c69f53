"""The `hand-depth` command: its table of sub-commands and the options that they share."""
