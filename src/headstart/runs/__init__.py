"""The run folder (create, take over, find), progress on long work, and the seconds that each stage took."""

from headstart.runs.progress import BarProgress, LineProgress, Progress, SilentProgress, Step, progress_on
from headstart.runs.record import RunRecord
from headstart.runs.run import FinishedRun, Run, find_run, owning_folder
from headstart.runs.stopwatch import Stopwatch

__all__ = [
    "BarProgress",
    "FinishedRun",
    "LineProgress",
    "Progress",
    "Run",
    "RunRecord",
    "SilentProgress",
    "Step",
    "Stopwatch",
    "find_run",
    "owning_folder",
    "progress_on",
]
