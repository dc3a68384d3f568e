"""The command line: `bvverify verify`, `inspect`, `export`, `prove-lowering`, `conform`, `targets`."""

from bvverify.cli.commands import app, main

__all__ = ["app", "main"]
