"""The command line that asks for what a fit was asked for."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

from headstart.planning.options import Options

_PATHS = {"root", "plan", "costs"}
# Options whose flag is not their name with dashes.
_FLAGS = {"rate": "--lr", "find_rate": "--find-lr"}


def command_of(source: object, options: Options) -> str | None:
    """The command that fits ``source`` (a path) with these options, quoted for a shell.

    The paths of files and folders are absolute, so that it works in any folder. Options that have their default are
    left out. ``None`` for a source that is no path: no command can name arrays in memory.
    """
    if not isinstance(source, str | Path):
        return None
    words = ["headstart", "fit", str(Path(source).resolve())]
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if value != field.default:
            value = str(Path(value).resolve()) if field.name in _PATHS else value
            words += _words(_FLAGS.get(field.name, f"--{field.name.replace('_', '-')}"), value)
    return shlex.join(words)


def _words(flag: str, value: Any) -> list[str]:
    return [flag] if value is True else [flag, str(value)]
