"""The command that says what is wrong with data: ``audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.options import AsJson, Channels, Data, Engine, EngineOption, GroupBy, Root
from headstart.cli.output import print_json, progress, say


def audit(
    data: Data,
    out: Annotated[
        Path | None, typer.Option(help="The folder for audit.json and audit.csv.", show_default="audit/<name>")
    ] = None,
    root: Root = None,
    group_by: GroupBy = None,
    channels: Channels = 3,
    engine: EngineOption = Engine.auto,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with labelled images: copies, leaks between splits, conflicting labels, and more."""
    from headstart import files, records, workflow
    from headstart.auditing.audit import FILE, TABLE, audit_table
    from headstart.planning.options import Options
    from headstart.reporting.audit_list import show_audit

    options = Options(root=str(root) if root else None, group_by=group_by, channels=channels, engine=engine.value)
    found = workflow.audit(data, options, progress=progress(), say=say)
    folder = out or Path("audit") / (data.resolve().name if data.is_dir() else data.stem)
    files.write_atomic(folder / FILE, records.to_json(found))
    files.write_atomic(folder / TABLE, audit_table(found))
    if as_json:
        print_json(found)
    else:
        show_audit(found, folder)
