"""The command that says what a fit within a budget would do: ``plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.options import (
    AllowLeaks,
    AsJson,
    Backbones,
    Channels,
    Data,
    Engine,
    EngineOption,
    FixLeaks,
    GroupBy,
    ImageSize,
    MaxLatency,
    MaxSize,
    Metric,
    Quality,
    Root,
    RunBackbone,
    Test,
    split_or_fraction,
)
from headstart.cli.output import progress, say


def plan(
    data: Data,
    out: Annotated[Path | None, typer.Option(help="Write the plan to this file, for `fit --plan`.")] = None,
    budget: Annotated[str | None, typer.Option(metavar="TIME", help="30s, 5m, 1h or none.", show_default="2m")] = None,
    quality: Annotated[Quality, typer.Option(help="How much a further gain must be.")] = Quality.balanced,
    backbone: RunBackbone = None,
    backbones: Backbones = None,
    max_size: MaxSize = None,
    max_latency: MaxLatency = None,
    test: Test = None,
    metric: Metric = "accuracy",
    seed: Annotated[int, typer.Option(min=0, help="Of splits and folds.")] = 0,
    engine: EngineOption = Engine.auto,
    root: Root = None,
    group_by: GroupBy = None,
    allow_leaks: AllowLeaks = False,
    fix_leaks: FixLeaks = False,
    image_size: ImageSize = None,
    channels: Channels = 3,
    as_json: AsJson = False,
) -> None:
    """Say what `fit` would try within a budget and why; only probes are fitted."""
    from headstart import files, records, workflow
    from headstart.planning.options import Options
    from headstart.reporting.plan_table import show_plan
    from headstart.runs.budget import Countdown

    options = Options(
        backbone=backbone,
        backbones=backbones,
        max_size=max_size,
        max_latency=max_latency,
        test=split_or_fraction(test),
        metric=metric,
        seed=seed,
        engine=engine.value,
        root=str(root) if root else None,
        image_size=image_size,
        channels=channels,
        group_by=group_by,
        allow_leaks=allow_leaks,
        fix_leaks=fix_leaks,
        budget=budget,
        quality=quality.value,
    )
    # A fit would have the whole budget: what was spent on looking is in the store by then.
    clock = Countdown.from_now(options.time())
    found = workflow.plan(data, options, progress=progress(), say=say, countdown=clock)
    if out is not None:
        files.write_atomic(out, records.to_json(found))
    if as_json:
        typer.echo(records.to_json(found), nl=False)
    else:
        show_plan(found)
