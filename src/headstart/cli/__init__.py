"""The command line: one command a verb, which parses, calls and prints."""

from headstart.cli.commands import app
from headstart.cli.process import main

__all__ = ["app", "main"]
