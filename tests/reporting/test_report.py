"""The page needs nothing but itself, says what the records say, and withstands any name."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from headstart.errors import ImageError, RunError
from headstart.reporting.report import write_report

Build = Callable[..., Path]
VOID = {"meta", "br", "img", "wbr", "line", "rect", "path"}
EVIL = "<script>alert('x')</script>\"onload=\"x&amp;"


class Reader(HTMLParser):
    """Collects elements, attributes and the visible text, and fails where tags don't nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.script = ""

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    @property
    def attributes(self) -> list[tuple[str, str]]:
        return [pair for _, attributes in self.elements for pair in attributes.items()]

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        """The attributes of the elements of a tag that have some values; ``_`` in a name stands for a hyphen."""
        plain = {name.replace("_", "-"): value for name, value in wanted.items()}
        return [found for name, found in self.elements if name == tag and plain.items() <= found.items()]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.script += data
        elif "style" not in self.open:
            self.text += data


def read_page(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text("utf-8"))
    reader.close()
    assert reader.open == []
    reader.text = " ".join(reader.text.split())
    return reader


def gone(image: str) -> bytes:
    raise ImageError(f"{image}: gone")


def check_self_contained(path: Path) -> Reader:
    """Nothing leads out of the page, only its own script runs, and who can't see it finds the way."""
    page, source = read_page(path), path.read_text("utf-8")
    assert page.tags.isdisjoint({"link", "iframe", "object", "form", "base"})
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "srcset"):
            assert value.startswith("data:image/jpeg;base64,")
        if name == "href":
            assert value[:1] == "#"
            assert value[1:] in ids
        if name == "aria-labelledby":
            assert value in ids
    assert len(page.all("script")) == 1
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    (policy,) = (one["content"] for one in page.all("meta", http_equiv="Content-Security-Policy"))
    assert f"script-src 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy
    for image in page.all("img"):
        assert image["alt"]
    for drawing in page.all("svg"):
        assert drawing.get("aria-hidden") == "true" or drawing["aria-label"]
    for region in page.all("section"):
        assert region["aria-labelledby"]
    for outside in ("url(", "@import", "http:", "https:"):
        assert outside not in source
    assert path.stat().st_size < 5_000_000
    return page


def test_the_page_says_what_the_records_say(build_run: Build, noise: bytes) -> None:
    folder = build_run()
    path = write_report(folder, lambda image: noise)
    assert path == folder / "report.html"
    page = check_self_contained(path)
    test = json.loads((folder / "metrics.json").read_text())["splits"]["test"]
    wrong = round((1 - test["accuracy"]) * test["n"])
    assert f"is right on {100 * test['accuracy']:.1f}% of 150 test images" in page.text
    assert f"{wrong} of 150 test images are misclassified" in page.text
    assert len(page.all("img")) == min(wrong, 12) + 150, "a large one of the surest mistakes, a small one of all"
    for told in (
        "2 files were left out",
        "a/empty.jpg",
        "the file is empty",
        "one more rung needs PyTorch",
        "numpy",
        "bf16",
    ):
        assert told in page.text
    assert f"headstart predict {folder} IMAGE_OR_FOLDER" in page.text


def _climb() -> tuple[dict[str, Any], dict[str, Any]]:
    """``ladder.json`` and ``plan.json`` of a climb of one rung."""
    probe = {"strategy": "linear_probe", "cut": 9, "score": 0.9, "rows": 244, "decision": "kept", "seconds": 0.4}
    gain = {"mean": 1.2, "sd": 0.8, "ci95": [-0.4, 2.8], "better": 0.93}
    tuned = {"strategy": "partial above cut 7", "cut": 7, "score": 0.95, "rows": 49, "ci95": [0.85, 0.98]}
    tuned |= {"decision": "kept", "seconds": 52.0, "expected_gain": 0.8, "gain": gain, "reason": "over linear_probe"}
    ladder = {
        "metric": "accuracy",
        "chosen": "partial above cut 7",
        "rungs": [probe, tuned],
        "steps": ["partial above cut 7 is expected to add 0.8 points", "the expected further gain is too small"],
        "reason": "partial above cut 7 has the highest expected accuracy",
    }
    stage = {"number": 1, "name": "stem", "accuracy": 0.7, "accuracy_ci95": [0.6, 0.8]}
    prediction = {"factor": 2, "rows": 488, "accuracy": 0.97, "ci95": [0.95, 0.99]}
    plan = {
        "rungs": [{"strategy": "partial", "cut": 7, "seconds": 49.0}],
        "decisions": [{"key": "tuning", "kind": "fingerprint", "value": "yes", "reason": "many", "by_clock": True}],
        "layers": {"stages": [stage], "rows": 244, "transfers_to": 1, "sentence": "They transfer all the way."},
        "forecast": {"strategy": "linear_probe", "accuracy": 0.95, "predictions": [prediction], "sentence": "Yes."},
    }
    return ladder, plan


def test_a_climb_is_told_from_its_steps_to_its_choice(build_run: Build, noise: bytes) -> None:
    ladder, plan = _climb()
    page = check_self_contained(write_report(build_run(ladder=ladder, plan=plan), lambda image: noise))
    for told in (
        "How it was chosen",
        "Partial fine-tuning above cut 7 has the highest expected accuracy.",
        "+1.2−0.4 to +2.8",
        "95.0%85.0 to 98.0%49 images",
        "52 sforecast 49 s",
        "Scores on different images can't be compared",
        "The expected further gain is too small",
        "They transfer all the way. 1 stem 70.0% (60.0 to 80.0%)",
        "twice488 images 97.0% (95.0 to 99.0%)",
        "Many (depends on how fast this machine is)",
        "ladder.json, plan.json, audit.json, evaluation.json",
    ):
        assert told in page.text, told
    assert "What was tried" not in page.text
    assert ("colspan", "7") in page.attributes
    assert page.text.count("chosen") == 2, "the heading, and one rung"


def test_without_a_climb_the_rungs_stand_alone(build_run: Build, noise: bytes) -> None:
    page = check_self_contained(write_report(build_run(), lambda image: noise))
    assert "What was tried" in page.text
    for missing in (
        "How it was chosen",
        "Would more data help?",
        "Step by step",
        "Where features stop",
        "be compared",
        "Every decision",
        "plan.json",
    ):
        assert missing not in page.text
    assert ("colspan", "6") in page.attributes


def test_the_same_run_gives_the_same_page(build_run: Build, noise: bytes) -> None:
    folder = build_run()
    first = write_report(folder, lambda image: noise).read_bytes()
    assert write_report(folder, lambda image: noise).read_bytes() == first


def test_pictures_that_are_gone_leave_their_names(build_run: Build) -> None:
    page = check_self_contained(write_report(build_run(), gone))
    assert "img" not in page.tags
    assert "no picture of" in page.text
    assert ".jpg" in page.text


def test_hostile_and_foreign_names_stay_text(build_run: Build, noise: bytes) -> None:
    audit = {"left_out": [{"file": EVIL, "kind": EVIL, "reason": EVIL}], "notes": [EVIL, "\udcff\u202egpj.exe"]}
    run = {"request": {EVIL: EVIL}, "libraries": {EVIL: EVIL}, "started": EVIL}
    rung = {"strategy": EVIL, "reason": EVIL, "expected_gain": 1.0}
    ladder = {"metric": EVIL, "chosen": EVIL, "rungs": [rung], "notes": [EVIL], "steps": [EVIL], "reason": EVIL}
    finding = {"sentence": EVIL, "strategy": EVIL, "accuracy": 0.5, "rows": 9, "predictions": []}
    plan = {
        "decisions": [{"key": EVIL, "kind": "fixed", "value": EVIL, "reason": EVIL}],
        "considered": [{"backbone": EVIL, "image_size": 9, "accuracy": 0.5, "size": 9}],
        "layers": {**finding, "stages": [{"number": 1, "name": EVIL, "accuracy": 0.5}]},
        "forecast": finding,
    }
    classes = (EVIL, "日本語 Ünïcode 🙂", "{{ 7 * 7 }}{% raw %}")
    folder = build_run(
        classes, skill=1.0, audit=audit, run=run, ladder=ladder, plan=plan, backbone=EVIL, strategy=EVIL, licence=EVIL
    )
    page = check_self_contained(write_report(folder, lambda image: noise))
    assert page.text.count(EVIL) > 20
    assert "alert" not in page.script
    assert "日本語 Ünïcode 🙂" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "\u202e" not in page.text


def test_many_classes_are_cut_to_the_most_confused(build_run: Build) -> None:
    page = check_self_contained(write_report(build_run([f"class {i}" for i in range(100)], 600), gone))
    assert "The 30 of 100 classes that are confused most." in page.text
    assert ("class", "matrix many") in page.attributes


def test_the_largest_page_stays_small(build_run: Build, noise: bytes) -> None:
    long = "&'\"<>" * 51
    classes = [f"{i:03d}{long}{i:03d}" for i in range(320)]
    audit = {"left_out": [{"file": long, "kind": long, "reason": long * 20}] * 5000, "notes": [long * 50] * 500}
    rung = {"strategy": long, "cut": 9, "score": 0.5, "decision": "kept", "reason": long * 50}
    ladder = {"metric": "accuracy", "chosen": "x", "rungs": [rung] * 500, "notes": [long] * 500}
    ladder |= {"steps": [long * 50] * 500, "reason": long * 50}
    decision = {"key": long, "kind": "fixed", "value": long, "reason": long * 50}
    stage = {"number": 1, "name": long, "accuracy": 0.5}
    considered = {"backbone": long, "image_size": 9, "accuracy": 0.5, "size": 9}
    layers = {"stages": [stage] * 500, "rows": 9, "sentence": long * 50}
    plan = {"decisions": [decision] * 500, "considered": [considered] * 500, "layers": layers}
    run = {"request": {f"{long}{i}": long for i in range(500)}, "libraries": {f"{i}{long}": long for i in range(500)}}
    folder = build_run(
        classes,
        960,
        skill=1.0,
        audit=audit,
        ladder=ladder,
        run=run,
        plan=plan,
        seconds={f"{i}{long}": 1.0 for i in range(99)},
    )
    page = check_self_contained(write_report(folder, lambda image: noise))
    assert "And 4,950 more; audit.json lists them all." in page.text


def test_several_labels_have_no_matrix(build_run: Build, noise: bytes) -> None:
    folder = build_run(("cat", "dog", "boat"), task="multilabel", metric="map")
    page = check_self_contained(write_report(folder, lambda image: noise))
    assert "What is taken for what" not in page.text
    assert "Label by label" in page.text
    assert "450 claims, one an image and label" in page.text
    assert "has a mean average precision of" in page.text


def test_a_nested_estimate_is_never_called_a_test(build_run: Build) -> None:
    folder = build_run(n=60)
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["splits"]["test"]["estimate"] = "nested_out_of_fold"
    (folder / "metrics.json").write_text(json.dumps(metrics))
    page = check_self_contained(write_report(folder, gone))
    assert "There is no test set." in page.text
    assert "test images" not in page.text


def test_a_run_without_scores_and_records_is_told_plainly(build_run: Build) -> None:
    empty = {
        "val": {"n": None, "accuracy": None},
        "test": {"n": 0, "accuracy": None, "confusion": None, "per_class": None},
    }
    folder = build_run(splits=empty, baselines=None, seconds=None, abstain=None, engine=None, seed=None)
    for name in ("ladder.json", "audit.json", "run.json", "predictions.parquet"):
        (folder / name).unlink()
    page = check_self_contained(write_report(folder, gone))
    for told in ("no test score could be measured", "No score could be measured.", "No predictions were kept"):
        assert told in page.text


def test_a_perfect_run_has_no_mistakes(build_run: Build) -> None:
    page = check_self_contained(write_report(build_run(skill=60.0), gone))
    assert "None of the 150 test images is misclassified." in page.text


OPTIONAL = (
    *("ladder.json", "audit.json", "run.json", "plan.json", "evaluation.json", "fingerprint.json", "history.csv"),
    *("predictions.parquet", "training.parquet"),
)


@pytest.mark.parametrize("damage", [b"\x00 not a record", b"[1]", b'{"a": ' * 3000])
def test_a_damaged_record_is_named_and_the_rest_is_told(build_run: Build, damage: bytes) -> None:
    folder = build_run()
    for name in OPTIONAL:
        (folder / name).write_bytes(damage if name != "history.csv" else b"epoch,val_loss\n0,x\n")
    page = check_self_contained(write_report(folder, gone))
    assert "Use it" in page.text
    for name in OPTIONAL:
        assert f"{name} can't be read" in page.text


def test_records_that_are_not_there_are_named(build_run: Build) -> None:
    folder = build_run()
    for name in ("ladder.json", "audit.json", "run.json", "predictions.parquet"):
        (folder / name).unlink()
    page = check_self_contained(write_report(folder, gone))
    for told in (
        "This page is not complete.",
        "ladder.json is not there, and with it what was tried.",
        "predictions.parquet is not there, and with it the images.",
        "evaluation.json is not there",
    ):
        assert told in page.text
    assert "plan.json is not there" not in page.text, "not every run has one"


def test_without_sound_scores_there_is_no_page_and_the_old_one_is_kept(build_run: Build) -> None:
    folder = build_run()
    before = write_report(folder, gone).read_bytes()
    (folder / "metrics.json").write_bytes(b"\x00")
    with pytest.raises(RunError, match=re.escape("metrics.json")):
        write_report(folder, gone)
    assert (folder / "report.html").read_bytes() == before


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no metrics\.json: the run has not finished"):
        write_report(tmp_path, gone)


def test_numbers_in_the_matrix_can_be_read_on_every_tint() -> None:
    """WCAG 2.1 asks for a contrast of 4.5 between text and ground; the deepest tint is the worst ground."""
    css = files("headstart.reporting").joinpath("report.css").read_text("utf-8")
    floors = {"hit": 0.1, "miss": 0.15}
    themes = re.findall(
        r"--paper: (#\w+);.*?--ink: (#\w+);.*?--hit: ([\d ]+); --miss: ([\d ]+); --heat: ([\d.]+)", css, re.S
    )
    assert len(themes) == 3
    for tone in ("quiet", "accent", "fault", "good", "doubt"):
        for theme in (
            css[: css.index("@media (pref")],
            css[css.index("@media (pref") : css.index("* {")],
            css[css.index("@media print") :],
        ):
            found = {name: re.search(rf"--{name}: (#\w+)", theme) for name in ("paper", tone)}
            assert all(found.values())
            assert contrast(*(rgb(one[1]) for one in found.values() if one)) >= 4.5, tone
    for paper, ink, hit, miss, heat in themes:
        for name, tint in (("hit", hit), ("miss", miss)):
            assert f"calc({floors[name]:g} + var(--s)".replace("0.", ".") in css
            share = floors[name] + float(heat)
            ground = [share * t + (1 - share) * p for t, p in zip(map(int, tint.split()), rgb(paper), strict=True)]
            assert contrast(ground, rgb(ink)) >= 4.5


def rgb(colour: str) -> list[float]:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    return [float(int(digits[i : i + 2], 16)) for i in (0, 2, 4)]


def contrast(a: list[float], b: list[float]) -> float:
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: list[float]) -> float:
    linear = [v / 12.92 if (v := c / 255) <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
