"""The errors that headstart raises: every message says what is wrong, where, and what to do."""

from __future__ import annotations


class HeadstartError(Exception):
    """Base of all errors that a user can cause and mend; the command line prints it in one or two lines.

    ``exit_code`` is what the command line ends with.
    """

    exit_code = 2


class OptionError(HeadstartError):
    """An option or argument has a value that can't be used."""


class DataError(HeadstartError):
    """The data set as a whole, or its table, can't be used."""


class LeakError(HeadstartError):
    """Copies of one picture lie in several of the user's splits, so that a score would be flattered."""

    exit_code = 3


class ImageError(HeadstartError):
    """One image can't be decoded; callers that work on many images list it and go on."""


class BackboneError(HeadstartError):
    """A backbone is unknown, or its weights don't fit it."""


class OfflineError(HeadstartError):
    """Something is wanted from the network while the network is switched off or can't be reached."""


class EngineError(HeadstartError):
    """No engine can run a trunk on this machine as asked."""


class ArtifactError(HeadstartError):
    """A saved model is incomplete, altered or of an unknown format."""


class ParityError(HeadstartError):
    """An exported model answers differently from the one that was trained, and is not written."""

    exit_code = 4


class RunError(HeadstartError):
    """A run folder can't be created, resumed or read."""


class StorageError(HeadstartError):
    """A file can't be written: the disk is full, or the place is read-only."""


class TrackingError(HeadstartError):
    """A tracking server can't be reached, refuses, or fails; the run that was to be logged is kept."""


class RecordError(HeadstartError):
    """A JSON record has unknown, missing or ill-typed fields."""


class MissingExtraError(HeadstartError):
    """An optional part of headstart is needed and isn't installed.

    Parameters
    ----------
    what:
        What was asked for, as the subject of a sentence, for example ``"timm/resnet18"``.
    extra:
        The name of the extra that brings it, for example ``"train"``.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs an optional part: pip install "headstart[{extra}]"')
        self.extra = extra
