"""A training's state on disk: whole or absent, tensors and plain values only, and refused where it is another's."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from headstart import files
from headstart.errors import RunError

VERSION = 1


class Checkpoints:
    """One checkpoint file, replaced at every save.

    Parameters
    ----------
    path:
        Where it lies.
    identity:
        Plain values that say whose state it is: data, weights and recipe. A state of another identity is refused.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self._path = path
        self._identity = identity

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file; raises :class:`StorageError` where it can't be written."""
        buffer = io.BytesIO()
        torch.save({"version": VERSION, "identity": self._identity, "state": state}, buffer)
        files.write_atomic(self._path, buffer.getvalue())

    def load(self) -> dict[str, Any] | None:
        """The state, or ``None`` where there is no file. Nothing in the file is executed.

        Raises
        ------
        RunError
            If the file is damaged, of another version, or the state of another training.
        """
        try:
            with self._path.open("rb") as file:
                saved = torch.load(file, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, ValueError) as error:
            reason = str(error).partition("\\n")[0]
            raise RunError(f"{self._path} is cut short or damaged ({reason}); delete it to train anew") from error
        if not isinstance(saved, dict) or saved.get("version") != VERSION:
            raise RunError(f"{self._path} was written by another version of headstart; delete it to train anew")
        for name, wanted in self._identity.items():
            found = saved["identity"].get(name)
            if found != wanted:
                raise RunError(
                    f"{self._path} belongs to another training: its {name} is {found!r}, here it is {wanted!r}; "
                    "delete it to train anew, or go on with what it was begun with"
                )
        return dict(saved["state"])

    def remove(self) -> None:
        """Delete the file, once nothing will go on from it."""
        self._path.unlink(missing_ok=True)
