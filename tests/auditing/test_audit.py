"""The record of an audit: the gravest first, whole as JSON, harmless as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

from headstart.auditing.audit import Audit, audit_of, audit_table, detect
from headstart.auditing.comparison import Copy
from headstart.auditing.findings import Finding
from headstart.auditing.material import Material
from headstart.data import LeftOut
from headstart.records import from_json, to_json

MakeMaterial = Callable[..., Material]


def test_the_gravest_kind_and_the_worst_of_each_come_first(make_material: MakeMaterial) -> None:
    rows = [(f"{label}{number}", label, "", "") for label in "xy" for number in range(4)]
    copies = [Copy((0, 1), 0.85, ""), Copy((2, 3), 0.99, ""), Copy((4, 5), 0.9, ""), Copy((3, 6), 0.88, "")]
    material = make_material(rows, copies)
    found = detect(material)
    assert [(finding.kind, finding.score) for finding in found] == [
        ("conflicting_labels", 0.88),
        ("near_duplicate", 0.99),
        ("near_duplicate", 0.9),
        ("near_duplicate", 0.85),
    ]
    audit = audit_of(material.dataset, findings=found)
    assert from_json(Audit, to_json(audit)) == audit
    assert audit.images == 8


def test_the_table_has_a_row_a_finding_and_nothing_that_a_spreadsheet_runs() -> None:
    findings = (
        Finding("=cmd|' /C calc'!A0", "leak", 'says "so", twice', "look", 0.5, "@b\n.png"),
        Finding("", "possible_groups", "e", "a"),
    )
    audit = Audit(3, (LeftOut("-x.png", "undecodable", "broken"),), (), findings)
    rows = list(csv.DictReader(io.StringIO(audit_table(audit))))
    assert [row["kind"] for row in rows] == ["leak", "possible_groups", "left_out_undecodable"]
    assert rows[0]["file"] == "'=cmd|' /C calc'!A0"
    assert rows[0]["other"] == "'@b\n.png"
    assert rows[0]["evidence"] == 'says "so", twice'
    assert (rows[0]["score"], rows[1]["score"]) == ("0.5000", "")
    assert rows[2]["file"] == "'-x.png"
