"""Decisions that hold for all data."""

from __future__ import annotations

from headstart.planning.plan import Decision
from headstart.planning.rule_table import FIRST, VIEWS
from headstart.training.finetuning.defaults import AUGMENT, RETRY_FACTOR, STAGE_RATE


def fixed_decisions(image_size: int) -> tuple[Decision, ...]:
    """What is done whatever the data is.

    Parameters
    ----------
    image_size:
        That the weights were made for.
    """
    return (
        Decision(
            "first", "fixed", FIRST, "a convex fit on frozen features: a model in seconds, and a start for others"
        ),
        Decision("image_size", "fixed", f"{image_size}", "what the weights were made for", {"pixels": image_size}),
        Decision("start", "fixed", "the probe", "fine-tuning from the probe's optimum does not distort the features"),
        Decision(
            "rate",
            "fixed",
            f"{STAGE_RATE:g}",
            f"AdamW's usual rate for fine-tuning; a rung that is worse than the one before it may be tried again at "
            f"{RETRY_FACTOR:g} of it",
            {"rate": STAGE_RATE, "retry": RETRY_FACTOR},
        ),
        Decision("augment", "fixed", AUGMENT, "crops, flips, small turns and light, less what the probe suffers from"),
        Decision(
            "views", "fixed", f"{VIEWS}", "computed once below the cut and renewed as it trains", {"views": VIEWS}
        ),
    )
