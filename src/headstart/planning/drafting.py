"""The plan as the rules draft it: fixed ones, those of the fingerprint, and those of what was measured here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from headstart.planning.empirical_rules import Timing, rungs_rule
from headstart.planning.fingerprint_rules import crop_rule, metric_rule, tuning_rule, validation_rule
from headstart.planning.fixed_rules import fixed_decisions
from headstart.planning.outlook import NO_OUTLOOK, Outlook
from headstart.planning.plan import SCHEMA, Considered, DataIdentity, Plan, check_plan
from headstart.planning.prior import TABLE, PriorTable
from headstart.planning.rule_table import FIRST, Quality
from headstart.planning.situation import Situation
from headstart.runs.budget import Budget


@dataclass(frozen=True)
class Wanted:
    """What the person asks of a plan."""

    backbone: str
    metric: str
    budget: Budget
    quality: Quality
    max_size: str | None
    max_latency: str | None
    seed: int


def draft_plan(
    wanted: Wanted,
    data: DataIdentity,
    situation: Situation,
    timings: Mapping[int, Timing],
    seconds: float,
    *,
    considered: tuple[Considered, ...] = (),
    outlook: Outlook = NO_OUTLOOK,
    kept_back: str = "",
    table: PriorTable = TABLE,
) -> Plan:
    """Apply all rules.

    Parameters
    ----------
    timings:
        Of cuts, where they were measured.
    seconds:
        What the budget leaves for fine-tuning, the end's reserve taken off; may be infinite.
    outlook:
        What the features tell beside the rungs.
    kept_back:
        Why no rung is tried, whatever the rules say; empty where they decide.

    Raises
    ------
    RecordError
        If what is wanted can't be.
    """
    crop, crop_decision = crop_rule(situation)
    validation, validation_decision = validation_rule(situation)
    tunes, tuning_decision = tuning_rule(situation, table=table)
    if tunes and kept_back:
        tunes, tuning_decision = False, replace(tuning_decision, value="no", reason=kept_back)
    rungs, rung_decisions = rungs_rule(situation, timings, seconds, table=table) if tunes else ((), ())
    plan = Plan(
        schema=SCHEMA,
        data=data,
        backbone=wanted.backbone,
        stages=situation.stages,
        image_size=situation.image_size,
        crop=crop,
        metric=wanted.metric,
        first=FIRST,
        rungs=rungs,
        validation=validation,
        budget=str(wanted.budget),
        quality=wanted.quality,
        max_size=wanted.max_size,
        max_latency=wanted.max_latency,
        seed=wanted.seed,
        decisions=(
            *fixed_decisions(situation.image_size),
            crop_decision,
            metric_rule(wanted.metric, situation),
            validation_decision,
            tuning_decision,
            *rung_decisions,
            *outlook.decisions,
        ),
        considered=considered,
        forecast=outlook.forecast,
        layers=outlook.layers,
    )
    check_plan(plan)
    return plan
