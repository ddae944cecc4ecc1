"""What an audit has found, in a terminal: how often each kind, and the worst examples."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from headstart.auditing.audit import FILE, TABLE, Audit
from headstart.auditing.findings import Finding
from headstart.reporting.wording import count_text, shorten

_OUT = Console(highlight=False, emoji=False)
EXAMPLES = 3
_TITLES = {
    "leak": "copies across splits",
    "conflicting_labels": "conflicting labels on one picture",
    "group_across_splits": "groups across splits",
    "possible_groups": "possible groups in file names",
    "near_duplicate": "near-duplicates",
}


def show_audit(audit: Audit, folder: Path) -> None:
    """Notes, then each kind of finding with its number, its worst examples and what to do."""
    _say(f"[bold]{count_text(audit.images, 'image')}[/bold]")
    for note in audit.notes:
        _say(f"• {escape(shorten(note, 300))}")
    by_kind: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in audit.findings:
        by_kind[finding.kind].append(finding)
    for kind, findings in by_kind.items():
        _say(f"\n[bold]{escape(title_of(kind))}[/bold]: {len(findings)}")
        for finding in findings[:EXAMPLES]:
            names = " = ".join(shorten(name, 120) for name in (finding.file, finding.other) if name)
            _say("  " + escape(": ".join(part for part in (names, finding.evidence) if part)))
        if len(findings) > EXAMPLES:
            _say(f"  and {len(findings) - EXAMPLES:,} more")
        _say(f"  → {escape(findings[0].action)}")
    if not audit.findings:
        _say("nothing found")
    _say(f"\nall findings  {escape(str(folder / FILE))}, {escape(str(folder / TABLE))}")


def title_of(kind: str) -> str:
    """A kind of finding in words."""
    return _TITLES.get(kind, kind.replace("_", " "))


def _say(line: str) -> None:
    _OUT.print(line, soft_wrap=True)
