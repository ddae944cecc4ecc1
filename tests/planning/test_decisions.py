"""How a model that is kept decides: by costs, at its metric's operating point, or as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headstart.data import load
from headstart.errors import OptionError
from headstart.evaluation.calibration import name_classes
from headstart.evaluation.costs import Costs
from headstart.planning.decisions import Decider, check_decisions
from headstart.planning.options import Options

CLASSES = ("benign", "malignant")
TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 0, 1, 1])
CHANCES = np.array([0.1, 0.2, 0.3, 0.7, 0.4, 0.6, 0.9, 0.05, 0.35, 0.8])
TABLE = np.column_stack([1 - CHANCES, CHANCES])


def test_the_metric_at_a_point_moves_the_threshold_of_the_last_class() -> None:
    usual = np.array([0.5, 0.5])
    rule = Decider("specificity@sensitivity=0.9", None, CLASSES)(TRUTH, TABLE, None)
    decided = name_classes(TABLE, rule)
    assert decided[TRUTH == 1].all()
    assert (decided == (CHANCES > 0.33)).all()
    strict = name_classes(TABLE, Decider("sensitivity@specificity=0.9", None, CLASSES)(TRUTH, TABLE, usual))
    assert (strict == (CHANCES > 0.75)).all()
    assert Decider("accuracy", None, CLASSES)(TRUTH, TABLE, usual) is usual
    assert Decider("sensitivity@specificity=0.9", None, CLASSES)(np.ones(10, int), TABLE, usual) is usual


def test_costs_come_before_everything() -> None:
    costs = Costs(("malignant", "benign"), ((0.0, 50.0), (1.0, 0.0)))
    rule = Decider("sensitivity@specificity=0.9", costs, CLASSES)(TRUTH, TABLE, None)
    assert (rule == [[0, 1], [50, 0]]).all()
    assert (name_classes(TABLE, rule) == 1).all()  # all are above 1 in 51


def data(tmp_path: Path, label: str, *values: str) -> Path:
    from PIL import Image

    lines = [f"image,{label}"]
    for number, value in enumerate(values):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{value}")
    path = tmp_path / "data.csv"
    path.write_text("\n".join(lines))
    return path


def test_costs_and_metrics_that_do_not_fit_the_data_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "costs.csv"
    file.write_text("true,a,b\na,0,1\nb,5,0\n")
    labels = tmp_path / "labels"
    labels.mkdir()
    single = load(data(tmp_path, "label", "a", "b", "a"))
    found = check_decisions(Options(costs=str(file), metric="sensitivity@specificity=0.95"), single)
    assert found is not None
    assert found.matrix == ((0.0, 1.0), (5.0, 0.0))
    assert check_decisions(Options(), single) is None
    several = load(data(labels, "labels", "a|b", "b", "a"))
    with pytest.raises(OptionError, match="several labels"):
        check_decisions(Options(costs=str(file)), several)
    with pytest.raises(OptionError, match="needs two classes"):
        check_decisions(Options(metric="sensitivity@specificity=0.95"), several)
    file.write_text("true,a,c\na,0,1\nc,5,0\n")
    with pytest.raises(OptionError, match=r"costs\.csv: no costs for the class 'b'"):
        check_decisions(Options(costs=str(file)), single)


def test_options_refuse_costs_that_are_not_there_at_once(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no such file of costs"):
        Options(costs=str(tmp_path / "none.csv")).check()
    with pytest.raises(OptionError, match="unknown metric"):
        Options(metric="sensitivity@specificity=2").check()
