"""Run the command line with `python -m bvverify`."""

from bvverify.cli.commands import main

main()
