"""The commands, one file each; `cli.py` names them and imports one only when it runs.

`options` has what several of them share: which model, which backend, how the next token is chosen.
Text goes to standard output, everything about it (speed, progress, warnings) to standard error.
"""
