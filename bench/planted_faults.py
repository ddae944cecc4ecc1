"""Recall and precision of the audit's detectors on faults planted in copies of real data.

Labels: a twentieth of the development labels is swapped, with any other class or with the one most alike, and the
ranked list is judged: its precision at the point where four fifths of the swapped labels are found, for several ways to
rank; and recall and precision of what is listed. Images: temporary copies get ten images that are upright only by EXIF,
five truncated ones, blurred, enlarged, dark, washed-out, tiny, empty and grey ones, and five images of another data
set. Shortcuts: copies in which most images of one class have a coloured border, another size, other compression or
EXIF. What the untouched data give is counted beside it. Faults that real data have of themselves count as false.

``python bench/planted_faults.py --data DIR`` prints Markdown tables. Results are kept in ``--out`` after each cell, so
that it can be stopped and go on.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from planted_images import FAULTS, SHORTCUTS, copy_with_faults, copy_with_shortcut
from threadpoolctl import threadpool_limits

from headstart.auditing.broken_files import broken_files
from headstart.auditing.cross_fit import cross_fitted
from headstart.auditing.findings import Finding
from headstart.auditing.image_quality import image_quality
from headstart.auditing.inspection import look_closely
from headstart.auditing.outliers import outliers
from headstart.auditing.shortcuts import KIND, shortcuts, told_by_cues
from headstart.auditing.suspicious_labels import (
    blended,
    confident_errors,
    neighbours_of,
    suspicions,
)
from headstart.backbones.catalogue import find_backbone
from headstart.data import Dataset, load, resolve
from headstart.features.compiling import compile_trunk
from headstart.features.engine import CompiledTrunk
from headstart.features.extract import probe_trunk
from headstart.features.table import FeatureTable
from headstart.files import write_atomic
from headstart.imaging import load_view
from headstart.imaging.facts import examine, image_facts
from headstart.runs import SilentProgress
from headstart.training.examples import Examples
from headstart.training.gathering import examples_of, extract_all
from headstart.training.strategies import STRATEGIES

LABEL_SETS = ("hymenoptera", "flowers5", "rsscn7", "brain_mri4", "pacs/sketch", "pacs/art_painting", "pacs/photo")
IMAGE_SETS = ("hymenoptera", "flowers5", "rsscn7", "pacs/photo", "pacs/sketch")
SHORTCUT_SETS = ("hymenoptera", "flowers5", "rsscn7")
CLEAN_SETS = (*LABEL_SETS, "pacs/cartoon")
STRANGERS = {"rsscn7": "flowers5"}  # the other sets get images of rsscn7
GREY = ("pacs/sketch",)  # where a grey image is nothing strange
SWAPPED, RECALL = 0.05, 0.8
SOFT = ("blurred", "upscaled")  # one continuum: a finding of either is right for both
TOP = ("features",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("HEADSTART_SHARED", "../shared")
    parser.add_argument("--data", type=Path, default=Path(shared) / "data", help="the folder of the data sets")
    parser.add_argument("--seeds", type=int, default=5, help="of swapped labels; images and shortcuts take two of them")
    parser.add_argument("--out", type=Path, default=Path("bench/results/planted_faults.json"))
    options = parser.parse_args()
    kept: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    compiled = compile_trunk(probe_trunk(find_backbone("bundled/tf_efficientnet_lite0")), engine="openvino")
    for key, work in cells(options.data, options.seeds, compiled):
        if key not in kept:
            started = time.perf_counter()
            with threadpool_limits(1, user_api="blas"):
                kept[key] = work()
            options.out.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(options.out, json.dumps(kept, indent=1).encode())
            print(f"{key}: {time.perf_counter() - started:.1f} s", flush=True)
    report(kept)


def cells(data: Path, seeds: int, compiled: CompiledTrunk) -> Sequence[tuple[str, Callable[[], Any]]]:
    """Every piece of work under the name that its result is kept by."""
    found: list[tuple[str, Callable[[], Any]]] = [("speed", lambda: speed(data / "hymenoptera"))]
    for name in CLEAN_SETS:
        found.append((f"clean|{name}", lambda name=name: clean(data / name, compiled)))
    for name in LABEL_SETS:
        for seed in range(seeds):
            found.append((f"labels|{name}|{seed}", lambda name=name, seed=seed: swapped(data / name, compiled, seed)))
    for name in IMAGE_SETS:
        for seed in range(2):
            found.append((f"images|{name}|{seed}", lambda name=name, seed=seed: images(data, name, compiled, seed)))
    for name in SHORTCUT_SETS:
        for seed in range(2):
            for kind in SHORTCUTS:
                found.append(
                    (
                        f"shortcut|{name}|{kind}|{seed}",
                        lambda name=name, kind=kind, seed=seed: shortcut(data / name, compiled, kind, seed),
                    )
                )
    return found


def speed(folder: Path) -> dict[str, float]:
    """Images a second of processor time on one core: either look at a file, and decoding it for the network."""
    files = [(file.read_bytes(), file.name) for file in sorted(folder.rglob("*.jpg"))]
    view = find_backbone("bundled/tf_efficientnet_lite0").preprocessing
    looks: dict[str, Callable[[bytes, str], object]] = {
        "image_facts": image_facts,
        "examine": examine,
        "load_view": lambda data, name: load_view(data, view, name),
    }
    best = dict.fromkeys(looks, 0.0)
    for _ in range(3):
        for name, look in looks.items():
            started = time.process_time()
            for data, file in files:
                look(data, file)
            best[name] = max(best[name], round(len(files) / (time.process_time() - started)))
    return best


def extracted(folder: Path, compiled: CompiledTrunk) -> tuple[Dataset, FeatureTable]:
    return extract_all(load(folder), compiled, SilentProgress(), print)


def whole(dataset: Dataset, table: FeatureTable, compiled: CompiledTrunk, seed: int) -> Examples:
    """All rows as examples, the test's included: in these benches nothing is chosen by them."""
    flat = dataset.with_splits([""] * len(dataset))
    _, protocol = resolve(flat, test=None, seed=seed)
    return examples_of(flat, table, compiled.trunk.columns, protocol, seed)


def audited(folder: Path, compiled: CompiledTrunk, seed: int) -> list[Finding]:
    """What all detectors that look at single images find."""
    dataset = load(folder)
    looked = look_closely(dataset, progress=SilentProgress())
    sound = dataset.leave_out(list(looked.failures), "undecodable", list(looked.failures.values()))
    sound, table = extract_all(sound, compiled, SilentProgress(), print)
    features = whole(sound, table, compiled, seed).features(TOP)
    return [
        *broken_files(sound.left_out),
        *image_quality(sound.files, list(looked.examined.values())),
        *outliers(sound.files, features, sound.groups),
    ]


def clean(folder: Path, compiled: CompiledTrunk) -> dict[str, Any]:
    """How much is found where nothing was planted; and how skilled each cue is at the class that it tells best."""
    found = Counter(finding.kind for finding in audited(folder, compiled, 0))
    dataset, table = extracted(folder, compiled)
    examples = whole(dataset, table, compiled, 0)
    chances = cross_fitted(examples, seed=0)
    found["suspicious_label"] = len(suspicions(examples.targets, chances, neighbours(examples)))
    examined = list(look_closely(dataset, progress=SilentProgress()).examined.values())
    told = told_by_cues(examined, examples.targets, examples.groups, chances)
    best: dict[str, float] = {}
    for one in told:
        best[one.cue] = max(best.get(one.cue, 0.0), one.skill.low / max(one.model, 0.01))
    for finding in shortcuts(examined, dataset.classes, examples.targets, examples.groups, chances):
        found[finding.kind] += 1
    return {"images": len(dataset), "found": dict(found), "told": best}


def neighbours(examples: Examples) -> Any:
    rows = examples.features(TOP)
    owners = examples.groups
    return neighbours_of(rows, rows, examples.encoded, owners=owners, reference_owners=owners)


def swapped(folder: Path, compiled: CompiledTrunk, seed: int) -> dict[str, Any]:
    """Both kinds of swaps, and each way to rank."""
    dataset, table = extracted(folder, compiled)
    dataset, protocol = resolve(dataset, test=None, seed=seed)
    examples = examples_of(dataset, table, compiled.trunk.columns, protocol, seed)
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(examples), round(SWAPPED * len(examples)), replace=False)
    own = examples.targets[rows].astype(np.int64)
    likely = cross_fitted(examples, seed=seed, strategy=STRATEGIES["linear_probe"])[rows]
    likely[np.arange(len(rows)), own] = -1
    others = {"any": (own + rng.integers(1, examples.classes, len(rows))) % examples.classes, "alike": likely.argmax(1)}
    found = {}
    for kind, labels in others.items():
        targets = examples.targets.copy()
        targets[rows] = labels
        found[kind] = ranked(replace(examples, targets=targets), rows, seed)
    return found


def ranked(examples: Examples, planted: np.ndarray, seed: int) -> dict[str, float]:
    """Precision where four fifths are found, by each way to rank; and recall and precision of what is listed."""
    encoded, voters = examples.encoded, neighbours(examples)
    wrong = np.isin(np.arange(len(examples)), planted)
    chances = {name: cross_fitted(examples, seed=seed, strategy=STRATEGIES[name]) for name in STRATEGIES}
    probe = chances["linear_probe_all_stages"]
    mixed = blended(probe, voters)
    ways = {name: own_of(found, encoded) for name, found in chances.items()}
    ways |= {
        "margin": own_of(probe, encoded) - np.where(encoded > 0, -1, probe).max(1),
        "thresholds": own_of(adjusted(probe, encoded), encoded),
        "neighbours alone": own_of(voters.shares, encoded),
        "used": own_of(mixed, encoded),
    }
    found = {way: precision_at(quality, wrong) for way, quality in ways.items()}
    for name, rows in (
        ("listed", np.array([one.row for one in suspicions(examples.targets, probe, voters)], int)),
        ("confident", np.flatnonzero(confident_errors(encoded, probe))),
    ):
        found[f"{name}: recall"] = float(np.isin(planted, rows).mean())
        found[f"{name}: precision"] = float(wrong[rows].mean()) if len(rows) else 0.0
    return found


def own_of(chances: np.ndarray, encoded: np.ndarray) -> np.ndarray:
    """The probability of each row's label."""
    return np.asarray((encoded * chances).sum(1))


def adjusted(chances: np.ndarray, encoded: np.ndarray) -> np.ndarray:
    """Probabilities less the thresholds of confident learning, as the paper's adjusted scores."""
    moved = chances - (encoded * chances).sum(0) / encoded.sum(0) + 1
    return np.asarray(moved / moved.sum(1, keepdims=True))


def precision_at(quality: np.ndarray, wrong: np.ndarray) -> float:
    """The share of wrong labels in the list down to where four fifths of them are in it."""
    hits = np.cumsum(wrong[np.argsort(quality, kind="stable")])
    last = int(np.searchsorted(hits, np.ceil(RECALL * wrong.sum())))
    return float(hits[last] / (last + 1))


def images(data: Path, name: str, compiled: CompiledTrunk, seed: int) -> dict[str, list[int]]:
    """By kind: planted, found of these, and found in all."""
    strangers = sorted((data / STRANGERS.get(name, "rsscn7")).rglob("*.jpg"))
    with tempfile.TemporaryDirectory() as folder:
        planted = copy_with_faults(load(data / name).files, data / name, strangers, Path(folder) / "copy", seed)
        found: dict[str, set[str]] = defaultdict(set)
        for finding in audited(Path(folder) / "copy", compiled, seed):
            found["soft" if finding.kind in SOFT else finding.kind].add(finding.file)
            found[finding.kind].add(finding.file)
    if name in GREY:
        del planted["grey_among_colour"]
    planted["soft"] = [file for kind in SOFT for file in planted[kind]]
    return {
        kind: [len(files), len(found[kind] & set(files)), len(found[kind])]
        for kind, files in planted.items()
        if kind not in SOFT
    } | {kind: [len(planted[kind]), len(found[kind] & set(planted[kind])), len(found[kind])] for kind in SOFT}


def shortcut(folder: Path, compiled: CompiledTrunk, kind: str, seed: int) -> dict[str, Any]:
    """The cues that are found, and whether the planted one is, for its class."""
    dataset = load(folder)
    chosen = dataset.classes[seed % len(dataset.classes)]
    with tempfile.TemporaryDirectory() as copies:
        copy = Path(copies) / "copy"
        copy_with_shortcut(dataset.files, folder, chosen, copy, kind, seed)
        dataset, table = extracted(copy, compiled)
        examples = whole(dataset, table, compiled, seed)
        chances = cross_fitted(examples, seed=seed)
        examined = list(look_closely(dataset, progress=SilentProgress()).examined.values())
        told = told_by_cues(examined, examples.targets, examples.groups, chances, seed=seed)
        told = tuple(one for one in told if one.is_notable)
        listed = shortcuts(examined, dataset.classes, examples.targets, examples.groups, chances, seed=seed)
    right = [one for one in told if one.cue == SHORTCUTS[kind][0] and dataset.classes[one.label] == chosen]
    return {
        "found": bool(right),
        "told": round((1 + right[0].skill.value) / 2, 3) if right else None,
        "cues": sorted({one.cue for one in told}),
        "findings": sum(finding.kind == KIND for finding in listed),
    }


def report(kept: dict[str, Any]) -> None:
    print(", ".join(f"{name} {rate:.0f} images/s" for name, rate in kept["speed"].items()))
    labels_report(kept)
    images_report(kept)
    shortcuts_report(kept)
    print("\n| untouched | images | found | most that a cue has of the model's skill |\n|---|--:|---|---|")
    for key, value in kept.items():
        if key.startswith("clean|"):
            named = ", ".join(f"{kind} {count}" for kind, count in sorted(value["found"].items()) if count)
            told = ", ".join(f"{cue} {skill:.2f}" for cue, skill in value["told"].items() if skill > 0)
            print(f"| {key.split('|')[1]} | {value['images']} | {named or 'nothing'} | {told} |")


def labels_report(kept: dict[str, Any]) -> None:
    for kind in ("any", "alike"):
        by_set: dict[str, list[dict[str, float]]] = defaultdict(list)
        for key, value in kept.items():
            if key.startswith("labels|"):
                by_set[key.split("|")[1]].append(value[kind])
        ways = list(next(iter(by_set.values()))[0])
        print(f"\nswapped with {kind}\n\n| way | {' | '.join(by_set)} | mean |\n|---|{'--:|' * (len(by_set) + 1)}")
        for way in ways:
            means = [float(np.mean([one[way] for one in found])) for found in by_set.values()]
            print(f"| {way} | {' | '.join(f'{mean:.2f}' for mean in means)} | {np.mean(means):.3f} |")


def images_report(kept: dict[str, Any]) -> None:
    print("\n| planted | images | recall | precision | the same by set |\n|---|--:|--:|--:|---|")
    for kind in (*FAULTS, "soft", "outlier"):
        by_set: dict[str, list[list[int]]] = defaultdict(list)
        for key, value in kept.items():
            if key.startswith("images|"):
                by_set[key.split("|")[1]] += [value[kind]] if kind in value else []
        each = ", ".join(f"{name} {rates(found)}" for name, found in by_set.items() if found)
        together = [one for found in by_set.values() for one in found]
        planted = sum(one[0] for one in together)
        print(f"| {kind} | {planted} | {rates(together, ' | ')} | {each} |")


def rates(found: list[list[int]], between: str = "/") -> str:
    planted, right, listed = np.sum(found, axis=0)
    return f"{right / planted:.2f}{between}{right / listed if listed else 1:.2f}"


def shortcuts_report(kept: dict[str, Any]) -> None:
    print(
        "\n| shortcut in most images of a class | found | it tells the class in | other cues found |\n|---|--:|--:|---|"
    )
    for kind, (cue, _) in SHORTCUTS.items():
        found = [v for k, v in kept.items() if k.startswith("shortcut|") and k.split("|")[2] == kind]
        told = [one["told"] for one in found if one["told"] is not None]
        others = Counter(name for one in found for name in one["cues"] if name != cue)
        known = f"{np.mean(told):.1%}" if told else "–"
        number = f"{sum(one['found'] for one in found)} of {len(found)}" if cue else "–"
        named = ", ".join(f"{name} {count}" for name, count in others.items()) or "none"
        print(f"| {kind} | {number} | {known} | {named} |")


if __name__ == "__main__":
    main()
