"""The command that writes a run's page again: ``report``."""

from __future__ import annotations

import typer

from headstart.cli.options import RunFolder


def report(run: RunFolder) -> None:
    """Write report.html and model_card.md of a finished run again, from its records and the images as they are now."""
    from headstart.data.addresses import Addresses
    from headstart.reporting.illustrations import illustrator_of
    from headstart.reporting.model_card import FILE
    from headstart.reporting.report import write_report
    from headstart.runs import find_run

    folder, read = find_run(run).folder, Addresses().read
    typer.echo(write_report(folder, read, illustrator_of(folder, read)))
    typer.echo(folder / FILE)
