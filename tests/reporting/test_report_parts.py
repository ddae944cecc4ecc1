"""The parts of the page: the album, the audit's findings, curves, tables of details, what to check, the record."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from headstart.evaluation.details import Rows, detail
from headstart.records import to_json
from headstart.reporting.album import make_album
from headstart.reporting.breakdowns import view_breakdowns
from headstart.reporting.checking import rows_to_check
from headstart.reporting.curves import coverage_chart, training_charts
from headstart.reporting.evidence import Predictions, read_evidence
from headstart.reporting.findings import view_findings
from headstart.reporting.gap_view import view_gap
from headstart.reporting.model_card import card_of, plain
from headstart.reporting.pictures import Pictures
from headstart.reporting.report import write_report
from headstart.reporting.reproduction import view_reproduction

Build = Callable[..., Path]
CLASSES = ("ants", "bees")
HISTORY = """epoch,cut,train_loss,val_loss,val_score,rate,images_per_second,seconds,seconds_left
0,7,nan,0.6,0.8,0.001,0,0,0
1,7,0.5,0.4,0.85,0.001,400,0.4,4
2,7,0.3,0.3,0.9,0.001,400,0.4,4
0,5,nan,0.3,0.9,0.001,0,0,0
1,5,0.2,0.25,0.95,0.001,400,0.4,4
"""


@pytest.fixture(scope="module")
def dot() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (40, 30), (200, 30, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def predictions(n: int = 6) -> Predictions:
    files = tuple(f"{i}.jpg" for i in range(n))
    truth = (("ants",), ("ants",), ("bees",), ("bees",), ("ants",), ("bees",))[:n]
    found = (("ants",), ("bees",), ("bees",), ("ants",), ("ants",), ("bees",))[:n]
    sure = np.array([0.9, 0.6, 0.55, 0.95, 0.7, float("nan")])[:n]
    return Predictions("test", files, files, truth, found, sure, None)


def _details(n: int = 90) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, n)
    chance = np.clip(truth * 0.4 + 0.6 * rng.random(n), 0.01, 0.99)
    domains = [("night", "day", "dusk")[place % 3] for place in range(n)]
    groups = [f"patient {place % 30}" for place in range(n)]
    owners = np.arange(n) % 30
    rows = Rows(truth, np.stack([1 - chance, chance], 1), None, owners, groups, domains)
    found: dict[str, Any] = json.loads(to_json({"splits": {"test": detail(rows, "classification", CLASSES)}}))
    return found


def test_mistakes_come_first_in_the_album_and_the_least_sure_of_the_rest(dot: bytes) -> None:
    album = make_album(predictions(), CLASSES, Pictures(lambda _: dot))
    assert [one.file for one in album.shown] == ["3.jpg", "1.jpg", "5.jpg", "2.jpg", "4.jpg", "0.jpg"]
    assert [one.right for one in album.shown] == [False] * 2 + [True] * 4
    assert [one.anchor for one in album.shown] == ["images-1-0", "images-0-1", "images-1-1", "", "images-0-0", ""]
    assert album.choices == ((0, "ants"), (1, "bees"))
    assert make_album(predictions(), CLASSES, Pictures(lambda _: dot), most=2).images == 6


def test_a_full_page_leaves_names_and_says_so(dot: bytes) -> None:
    album = make_album(predictions(), CLASSES, Pictures(lambda _: dot, room=1))
    assert album.full
    assert all(one.picture is None for one in album.shown)


def _with_findings(folder: Path, findings: list[dict[str, Any]]) -> Path:
    (folder / "audit.json").write_text(json.dumps({"images": 9, "left_out": [], "notes": [], "findings": findings}))
    table = {"file": ["t/1.jpg", "t/2.jpg"], "image": ["/t1", "/t2"], "label": ["ants", "bees"], "hash": ["0" * 64] * 2}
    pq.write_table(pa.table(table), folder / "training.parquet")
    return folder


def test_findings_are_told_by_kind_with_pictures_of_the_worst(build_run: Build, dot: bytes) -> None:
    pair = {"file": "t/1.jpg", "other": "t/2.jpg", "kind": "leak", "evidence": "alike", "action": "move one"}
    doubts = [
        {"file": f"d{i}.jpg", "kind": "suspicious_label", "evidence": f"odd {i}", "action": f"ask {i}"}
        for i in range(9)
    ]
    folder = _with_findings(build_run(), [pair, *doubts])
    asked = []

    def read(image: str) -> bytes:
        asked.append(image)
        return dot

    found = view_findings(read_evidence(folder), Pictures(read))
    assert [(group.title, group.count, len(group.rows)) for group in found.groups] == [
        ("Copies across splits", 1, 1),
        ("Suspicious labels", 9, 6),
    ]
    assert [group.action for group in found.groups] == ["move one", ""], "said once where it is the same for all"
    assert [row.action for row in found.groups[1].rows] == [f"ask {i}" for i in range(6)]
    assert asked == ["/t1", "/t2"], "of the others it isn't known where they are"
    assert found.groups[0].rows[0].picture
    assert found.groups[0].rows[0].other_picture


def test_three_rows_to_check_begin_with_suspicious_labels(build_run: Build) -> None:
    doubt = {"file": "t/1.jpg", "kind": "suspicious_label", "evidence": "others say bees", "action": "ask"}
    folder = _with_findings(build_run(skill=2.0), [doubt])
    evidence = read_evidence(folder)
    rows = rows_to_check(evidence)
    assert len(rows) == 3
    assert (rows[0].file, rows[0].why) == ("t/1.jpg", "suspicious label: others say bees")
    table = evidence.predictions
    assert table is not None
    wrong = table.confidence[~table.correct()]
    surest = table.files[int(np.flatnonzero(~table.correct())[wrong.argmax()])]
    assert rows[1].file == surest
    assert re.fullmatch(r"labelled \w+, but the model says \w+ and is [\d.]+% sure", rows[1].why)


def test_curves_of_a_training_say_where_it_began_again(build_run: Build) -> None:
    folder = build_run()
    (folder / "history.csv").write_text(HISTORY)
    losses, scores = training_charts(read_evidence(folder))
    assert [line.name for line in losses.lines] == ["training loss", "validation loss"]
    assert losses.lines[0].path.count("L") == 2, "three numbers; the starts have no training loss"
    assert "validation loss from 0.6 to 0.25" in losses.said
    assert "from 80.0% to 95.0%" in scores.said
    assert [name for _, name in losses.marks] == ["0", "new start", "4"]
    assert training_charts(read_evidence(_without(folder, "history.csv"))) == ()


def _without(folder: Path, name: str) -> Path:
    (folder / name).unlink()
    return folder


def test_details_become_tables_and_a_curve(build_run: Build, dot: bytes) -> None:
    folder = build_run()
    record = _details()
    (folder / "evaluation.json").write_text(json.dumps(record))
    evidence = read_evidence(folder)
    chart = coverage_chart(evidence)
    assert chart is not None
    last = record["splits"]["test"]["coverage_risk"][-1]
    assert f"of all answers {100 * last['risk']:.1f}%" in chart.said
    assert chart.band.startswith("M")
    found = view_breakdowns(evidence)
    assert [table.title for table in found.parts] == ["By domain", "By group"]
    assert {row[0] for row in found.parts[0].rows} == {"night", "day", "dusk"}
    assert "picked out of" in found.parts[0].note
    assert [table.title for table in found.thresholds] == list(CLASSES)
    assert len(found.thresholds[0].rows) == 13
    text = _Text.of(write_report(folder, lambda _: dot))
    for told in ("Where it does worse", "night", "What follows from each threshold", "Coverage and risk"):
        assert told in text


def test_a_gap_is_told_in_multiples_of_what_fits() -> None:
    part = {"value": 0.0152 * 9, "error": 0.0001}
    found = view_gap({"gap": {"early": part, "middle": part, "late": part}, "reading": "They do not fit."})
    assert found is not None
    assert [bar.value for bar in found.bars] == ["3.0 times"] * 3
    assert found.sentence == "They do not fit."
    assert view_gap({"gap": None}) is None


def test_the_record_has_the_hashes_of_what_stands_behind_the_page(build_run: Build) -> None:
    folder = _with_findings(build_run(), [])
    found = view_reproduction(read_evidence(folder))
    digests = dict(found.digests)
    assert digests["metrics.json"] == hashlib.sha256((folder / "metrics.json").read_bytes()).hexdigest()
    same = hashlib.sha256("\n".join(["0" * 64] * 2).encode()).hexdigest()
    assert digests["training images"] == f"2 images, {same}"


HEADINGS = (
    *("Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data"),
    *("Quantitative analyses", "Ethical considerations", "Caveats and recommendations", "How to reproduce"),
)


def test_the_card_has_its_headings_its_scores_and_leaves_the_use_to_a_person(build_run: Build) -> None:
    folder = _with_findings(build_run(), [])
    write_report(folder, lambda _: b"")
    card = (folder / "model_card.md").read_text()
    assert re.findall(r"^## (.+)$", card, re.M) == list(HEADINGS)
    test = json.loads((folder / "metrics.json").read_text())["splits"]["test"]
    low, high = test["accuracy_ci95"]
    assert f"{100 * test['accuracy']:.1f}% ({100 * low:.1f} to {100 * high:.1f}%)" in card
    assert "| ants |" in card
    use = card[card.index("## Intended use") : card.index("## Factors")]
    assert use.count("to be filled in by a person") == 2
    for table in re.findall(r"(?:^\|.*\|\n)+", card, re.M):
        assert len({line.count(" | ") for line in table.splitlines() if "---" not in line}) == 1


def test_names_are_text_in_the_card_too(build_run: Build) -> None:
    evil = "<script>alert(1)</script> | [x](http://y) `z` # _a_ ![i](j)\n## Heading"
    folder = build_run((evil, "bees"))
    card = card_of(read_evidence(folder))
    assert "<script" not in card
    assert "](" not in card.replace("\\](", "").replace("\\]\\(", "")
    assert re.findall(r"^## (.+)$", card, re.M) == list(HEADINGS)
    assert "http://" not in card
    assert plain("a|b`c") == "a&#124;b&#96;c"


def test_hostile_files_and_findings_stay_text(build_run: Build, dot: bytes) -> None:
    evil = '<script>alert("x")</script>"onerror="y'
    findings = [{"file": evil, "other": evil, "kind": evil, "evidence": evil, "action": evil}]
    folder = _with_findings(build_run((evil, "bees"), skill=1.0), findings)
    table = pq.read_table(folder / "predictions.parquet")
    names = pa.array([f"{evil}{number}.jpg" for number in range(len(table))])
    pq.write_table(table.set_column(0, "file", names), folder / "predictions.parquet")
    source = write_report(folder, lambda _: dot).read_text()
    assert source.count("<script") == 1
    assert '"onerror=' not in source
    assert "&lt;script&gt;" in source


def test_a_thousand_images_stay_below_five_megabytes(build_run: Build, noise: bytes) -> None:
    folder = build_run(n=1000, skill=3.0)
    path = write_report(folder, lambda _: noise)
    assert path.stat().st_size < 5_000_000
    text = _Text.of(path)
    assert "300 of 1,000 test images: every mistake" in text


class _Text(HTMLParser):
    @classmethod
    def of(cls, path: Path) -> str:
        reader = cls()
        reader.text = ""
        reader.feed(path.read_text("utf-8"))
        return " ".join(reader.text.split())

    text: str

    def handle_data(self, data: str) -> None:
        self.text += data
