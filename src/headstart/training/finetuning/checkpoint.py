"""A training's state on disk: whole or absent, tensors and plain values only, and refused where it is another's."""

from __future__ import annotations

import io
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from headstart import files
from headstart.errors import RunError

VERSION = 1
# What torch raises for a file that is no checkpoint, or not a whole one; what it will not execute is among it.
_DAMAGED = (
    *(RuntimeError, EOFError, ValueError, TypeError, LookupError, AttributeError, AssertionError),
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error),
)


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
            data = io.BytesIO(self._path.read_bytes())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what torch finds odd in a file is refused below
                saved = torch.load(data, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunError(f"{self._path} can't be read ({error.strerror}); delete it to train anew") from error
        except _DAMAGED as error:  # whose text advises to execute what is in the file
            raise RunError(f"{self._path} is cut short or damaged; delete it to train anew") from error
        if not isinstance(saved, dict) or set(saved) != {"version", "identity", "state"} or saved["version"] != VERSION:
            raise RunError(f"{self._path} was written by another version of headstart; delete it to train anew")
        found, wanted = saved["identity"], self._identity
        differences = [
            f"its {name} is {found.get(name)!r}, here it is {wanted.get(name)!r}"
            for name in {**wanted, **found}
            if found.get(name) != wanted.get(name)
        ]
        if differences:
            raise RunError(
                f"{self._path} belongs to another training: {'; '.join(differences)}; "
                "delete it to train anew, or go on with what it was begun with"
            )
        return dict(saved["state"])
