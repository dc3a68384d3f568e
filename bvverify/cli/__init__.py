"""The command line; `commands.py` lists the commands, each has a file of its own."""
