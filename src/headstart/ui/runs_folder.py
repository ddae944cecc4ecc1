"""The runs folder as the pages see it: names in addresses become folders in it, and nothing outside is read."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from headstart.errors import RunError
from headstart.runs.index import FOLDER, list_runs
from headstart.runs.record import FILE, read_record
from headstart.runs.summary import RunSummary, is_run


class UnknownRunError(RunError):
    """There is no run of that name in the folder."""


class RunsFolder:
    """The folder that holds the run folders; made by ``RunsFolder(Path("runs"))``, also where it is absent."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def runs(self) -> list[RunSummary]:
        """Every run in it, the latest first."""
        return list_runs(self.root)

    def find(self, name: str) -> Path:
        """The folder of the run called ``name``.

        Raises
        ------
        UnknownRunError
            If there is none.
        RunError
            If a link in it leads out of the runs folder.
        """
        folder = self.root / name
        if name in ("", ".", "..", FOLDER) or "/" in name or "\0" in name or not os.path.isdir(folder):
            raise UnknownRunError(f"there is no run called {name[:100]!r} in {self.root}")
        if not is_run(set(os.listdir(folder))):
            raise UnknownRunError(f"{folder} is no run folder")
        self._require_inside(folder)
        return folder

    def file(self, folder: Path, name: str) -> bytes:
        """The bytes of a file in a run folder that :meth:`find` gave; raises :class:`RunError` if it is absent."""
        path = folder / name
        if not path.is_file():
            raise RunError(f"{folder.name} has no {name}: the run has not finished, or was damaged")
        return path.read_bytes()

    def _require_inside(self, folder: Path) -> None:
        """Raise if the folder, or something that a page reads in it, lies elsewhere."""
        root = self.root.resolve()
        entries = [folder, *folder.iterdir(), *(folder / "model").glob("*")]
        for path in entries:
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise RunError(f"{path} is a link that leads out of {self.root}: copy what it points to, or remove it")


def refit_command(folder: Path, corrections: Path) -> str | None:
    """The command line that fits a run's data again with corrected labels; ``None`` if the run doesn't tell its own."""
    try:
        command = read_record(folder).command
        words = shlex.split(command) if command else []
    except (RunError, ValueError):
        return None
    if words[:2] != ["headstart", "fit"]:  # anybody may have written the record, and this line is there to be run
        return None
    if "--corrections" in words:
        place = words.index("--corrections")
        del words[place : place + 2]
    return shlex.join([*words, "--corrections", str(corrections)])


def state_of(folder: Path) -> tuple[int, ...]:
    """Numbers that change when a run folder comes to hold another run."""
    found = (folder / FILE).stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
