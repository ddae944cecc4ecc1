"""The command that a run remembers asks for the very same again."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

from headstart.cli import app
from headstart.cli import fitting as cli
from headstart.planning.command import command_of
from headstart.planning.options import Options


def parsed(command: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Options]:
    """What the command line makes of a command, without fitting."""
    caught: list[Any] = []
    monkeypatch.setattr(cli, "_fit", lambda source, out, as_json, options, *_: caught.append((source, options)))
    typer.main.get_command(app).main(shlex.split(command)[1:], standalone_mode=False)
    return caught[0]


def test_every_option_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Options(
        backbone="timm/a b", strategy="partial", test=0.25, metric="macro_f1", seed=7, engine="openvino",
        root=str(tmp_path), offline=True, licence="any", image_size=288, channels=1, budget="5m", quality="best",
        plan=str(tmp_path / "plan.json"), costs=str(tmp_path / "costs.csv"), backbones="a,b@288",
        max_size="10MB", max_latency="20ms", group_by="(.)", allow_leaks=True, fix_leaks=True, cut=4, epochs=2,
        rate=0.003, views=2, augment="light", batch_size=8, find_rate=True, auto=True, devices=2, tensorboard=True,
    )  # fmt: skip
    defaults = Options()
    same = [f.name for f in dataclasses.fields(Options) if getattr(asked, f.name) == getattr(defaults, f.name)]
    assert same == [], "give every option another value than its default"
    source = tmp_path / "it's data; rm -rf"
    command = command_of(source, asked)
    assert command is not None
    assert parsed(command, monkeypatch) == (source, asked)


def test_what_is_usual_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_of("photos", Options()) == f"headstart fit {tmp_path / 'photos'}"
    assert command_of(Path("photos"), Options(root="images")) == (
        f"headstart fit {tmp_path / 'photos'} --root {tmp_path / 'images'}"
    )


def test_no_command_names_arrays() -> None:
    assert command_of((np.zeros((1, 2, 2, 3)), ["a"]), Options()) is None
