"""What each part of the training recipe is worth: views, penalties, mixing, averages and heads, changed one at a time.

``python bench/recipes.py`` fine-tunes above one cut with the usual recipe and with each change to it, on samples of
the data sets named by ``--data``, and prints a Markdown table: accuracy on the test rows, its difference to the usual
recipe over the seeds, and seconds of the training. Results are kept in ``--out`` as they come, so that it can be
stopped and go on; run it alone if the seconds matter. Needs ``headstart[train]``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune import write_table
from main_job import machine

from headstart.planning.options import Options
from headstart.training.finetuning.view_policy import Policy
from headstart.training.finetuning.wish import Wish
from headstart.workflow import fit

USUAL = "usual: rolling 4"
# What is changed of the recipe; `head` is the wish's.
RECIPES: dict[str, dict[str, Any]] = {
    USUAL: {},
    **{f"fixed {views}": {"policy": Policy("fixed", views)} for views in (1, 2, 4, 8)},
    "online": {"policy": Policy("online")},
    "smoothing 0.1": {"smoothing": 0.1},
    "mixup 0.2": {"mixup": 0.2},
    "L2-SP 0.01": {"stages_anchor": 0.01},
    "head not anchored": {"head_anchor": 0.0},
    "no average": {"ema": 0.0},
    "one rate": {"stage_decay": 1.0},
    "a third of the rate": {"rate": 3e-4},
    "random head": {"head": "random"},
}


@dataclass(frozen=True)
class Changed(Options):
    """Options whose recipe differs in what no option of the command says."""

    change: str = USUAL

    def wish(self, rows: int) -> Wish:
        """The usual wish, changed."""
        change = dict(RECIPES[self.change])
        usual = super().wish(rows)
        head = change.pop("head", usual.head)
        return dataclasses.replace(usual, head=head, recipe=dataclasses.replace(usual.recipe, **change))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("HEADSTART_SHARED", "../shared")) / "data"
    parser.add_argument("--data", type=Path, nargs="+", default=[shared / "pacs" / "sketch", shared / "rsscn7"])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cut", type=int, default=6)
    parser.add_argument("--per-class", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("bench/results/recipes.json"))
    options = parser.parse_args()
    kept = json.loads(options.out.read_text())["runs"] if options.out.is_file() else {}
    for seed in options.seeds:
        for data in options.data:
            for recipe in options.recipes:
                name = f"{data.name} {options.cut} {seed} {recipe}"
                if name not in kept:
                    kept[name] = measure(data, recipe, options.cut, seed, options.per_class)
                    options.out.parent.mkdir(parents=True, exist_ok=True)
                    options.out.write_text(json.dumps({"machine": machine(), "runs": kept}, indent=1))
                print(name, kept[name], flush=True)
    for data in options.data:
        summarise(kept, data.name, options)


def measure(data: Path, recipe: str, cut: int, seed: int, per_class: int) -> dict[str, float]:
    """Accuracy on the test rows, and seconds of the training with its views, in a store of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HEADSTART_CACHE"] = f"{scratch}/cache"
        table = Path(scratch) / "data.csv"
        write_table(data, table, per_class, seed)
        wanted = Changed(strategy="partial", cut=cut, seed=seed, change=recipe, allow_leaks=True)
        run = fit(table, wanted, out=f"{scratch}/run", say=lambda line: None)
        metrics = json.loads(run.path("metrics.json").read_text())
        return {"accuracy": metrics["splits"]["test"]["accuracy"], "seconds": metrics["seconds"]["fine-tune"]}


def summarise(kept: dict[str, Any], data: str, options: argparse.Namespace) -> None:
    """Means over the seeds that both recipes have, and the differences' range."""
    print(f"\n{data}, cut {options.cut}\n\n| recipe | accuracy | against the usual | seconds |\n|---|--:|--:|--:|")
    for recipe in options.recipes:
        pairs = []
        for seed in options.seeds:
            found = [kept.get(f"{data} {options.cut} {seed} {name}") for name in (recipe, USUAL)]
            pairs += [found] if all(found) else []
        if pairs:
            accuracy, seconds = (statistics.mean(own[key] for own, _ in pairs) for key in ("accuracy", "seconds"))
            gains = [100 * (own["accuracy"] - usual["accuracy"]) for own, usual in pairs]
            said = f"{statistics.mean(gains):+.1f} ({min(gains):+.1f} to {max(gains):+.1f})"
            print(f"| {recipe} | {accuracy:.3f} | {said} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
