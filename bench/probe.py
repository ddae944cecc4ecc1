"""The convex fit against scikit-learn: same features, splits, folds and refit, over several seeds.

For each data set and seed both fit the top features of the default backbone; scikit-learn's LogisticRegression takes
its C from 13 values by the same folds, once by accuracy (its default) and once by log-loss. ``auto`` is what
``headstart fit`` would choose. Run ``python bench/probe.py --data DIR``; the means over the seeds are printed as a
Markdown table.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path

import numpy as np

from headstart.backbones.catalogue import find_backbone
from headstart.data import load
from headstart.data.protocol import resolve
from headstart.features.compiling import compile_trunk
from headstart.features.extract import probe_trunk
from headstart.planning.judging import TOP, refit_best
from headstart.planning.ladder import candidates, climb
from headstart.runs import SilentProgress
from headstart.training.examples import Examples, features_of
from headstart.training.gathering import examples_of, extract_all

COLUMNS = ("linear_probe", "auto", "sklearn_by_accuracy", "sklearn_by_log_loss")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("HEADSTART_SHARED", "../shared")
    parser.add_argument("--data", type=Path, default=Path(shared) / "data", help="the folder of the data sets")
    parser.add_argument("--sets", nargs="+", default=["hymenoptera", "flowers5", "rsscn7", "brain_mri4"])
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    compiled = compile_trunk(probe_trunk(find_backbone("bundled/tf_efficientnet_lite0")), engine="openvino")
    print(f"| data set | test images | {' | '.join(COLUMNS)} |\n|---|---|{'---|' * len(COLUMNS)}")
    for name in options.sets:
        dataset, table = extract_all(load(options.data / name), compiled, SilentProgress(), print)
        scores, seconds = [], []
        for seed in range(options.seeds):
            resolved, protocol = resolve(dataset, test=None, seed=seed)
            examples = examples_of(resolved, table, compiled.trunk.columns, protocol, seed)
            places = np.flatnonzero(resolved.splits == "test")
            found, spent = one_seed(examples, places, resolved.targets[places], seed)
            scores.append(found)
            seconds.append(spent)
        cells = " | ".join(f"{m:.4f} ({s:.1f} s)" for m, s in zip(np.mean(scores, 0), np.mean(seconds, 0), strict=True))
        print(f"| {name} | {len(places)} | {cells} |", flush=True)


def one_seed(examples: Examples, places: np.ndarray, truth: np.ndarray, seed: int) -> tuple[list[float], list[float]]:
    """Test accuracy and seconds of each column."""
    scores, seconds = [], []
    for strategy in ("linear_probe", "auto"):
        started = time.perf_counter()
        climbed = climb(candidates(strategy, examples, "accuracy"), examples, metric="accuracy", cut=9, seed=seed)
        predicted = refit_best(climbed, examples).predict(examples, places).argmax(1)
        seconds.append(time.perf_counter() - started)
        scores.append(float((predicted == truth).mean()))
    for scoring in ("accuracy", "neg_log_loss"):
        started = time.perf_counter()
        predicted = sklearn_predictions(examples, places, scoring)
        seconds.append(time.perf_counter() - started)
        scores.append(float((predicted == truth).mean()))
    return scores, seconds


def sklearn_predictions(examples: Examples, places: np.ndarray, scoring: str) -> np.ndarray:
    """Standardise, choose C from 13 values on the same folds, refit on all development rows."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    search = GridSearchCV(
        model, {"logisticregression__C": np.logspace(-6, 0, 13)}, scoring=scoring, cv=list(examples.folds)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.fit(examples.features(TOP), examples.targets)
    return np.asarray(search.predict(features_of(examples.table, places, examples.columns, TOP)))


if __name__ == "__main__":
    main()
