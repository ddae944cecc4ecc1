"""Tasks for several processes, which find them here by name; as a program, the first one, until its end is killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

from headstart.runs import SilentProgress
from headstart.training.finetuning.devices import on_devices
from headstart.training.finetuning.loop import Interrupted
from headstart.training.finetuning.outcome import EpochRow
from headstart.training.finetuning.team import Reports, Team

ROW = EpochRow(1, 2, 0.5, 0.25, 1.0, 1e-3, 10.0, 2.0)


def work(folder: Path, team: Team, reports: Reports) -> None:
    """Tell all that can be told, in both processes, and work until it is asked to stop; the first one takes longer."""
    reports.say(f"process {team.rank} of {team.size}, with {team.agreed(lambda: 40 + team.rank)}")
    reports.tell(ROW)
    with reports.progress.task("outer", 3) as outer, reports.progress.task("inner", 2) as inner:
        inner(2)
        outer()
    sys.stdout.write("not for the programs that read what is printed\n")
    sys.stdout.flush()
    (folder / f"{os.getpid()}.pid").touch()
    with team.first():
        pass
    while not reports.stop():
        time.sleep(0.01)
    if not team.rank:
        time.sleep(0.3)
        (folder / "saved").touch()
    raise Interrupted("its state is saved")


def die(team: Team, reports: Reports) -> None:
    """One is killed in the middle of a task; the other only notices that it is silent."""
    with reports.progress.task("begun", 1):
        if team.rank:
            os.kill(os.getpid(), signal.SIGKILL)
        with team.first():
            pass


if __name__ == "__main__":
    import together

    on_devices(partial(together.work, Path(sys.argv[1])), 2, Reports(print, print, SilentProgress(), lambda: False))
