"""Run the command line with `python -m bvverify`."""

from bvverify.cli import main

main()
