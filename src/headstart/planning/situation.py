"""What the rules of a plan, and the prior of its gains, know of the data and of the backbone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headstart.planning.domain_gap import DomainGap


@dataclass(frozen=True)
class ProbeScore:
    """What the linear probe reached on rows that it had not seen.

    Attributes
    ----------
    accuracy:
        Share of rows predicted wholly right, 0 to 1.
    log_loss:
        Mean over rows, in nats.
    rows:
        How many were judged.
    majority:
        The accuracy of always naming the most frequent class, on the same rows.
    chance_loss:
        The log-loss in nats of always giving each class its share, on the same rows.
    saved_error:
        The standard error in nats of what the probe's log-loss is below that one, groups counted once.
    counted_accuracy:
        The accuracy as the governing metric counts rows: where that counts classes alike, so does this.
    """

    accuracy: float
    log_loss: float
    rows: int
    majority: float
    chance_loss: float
    saved_error: float
    counted_accuracy: float


@dataclass(frozen=True)
class Situation:
    """Counts, gap and probe: everything that a rule may look at.

    Attributes
    ----------
    rows:
        Images that are not in the test split.
    class_min, class_median, class_max:
        Images a class among them.
    groups:
        How many units they make that must stay together; as many as rows where each image stands for itself.
    validation_rows:
        Of the user's own validation split; 0 without one.
    gap:
        Against the source data of the ruler; ``None`` where it was not measured.
    probe:
        ``None`` before it has run.
    crop_loss:
        The share of the area of an image that a centre crop to a square cuts off, 0 to 1: the median of the images.
    stages, image_size, aspect:
        Of the backbone: its number of stages, and the input that its weights were made for.
    trainable:
        Whether what fine-tuning needs is installed.
    """

    task: Literal["classification", "multilabel"]
    rows: int
    classes: int
    class_min: int
    class_median: float
    class_max: int
    groups: int
    validation_rows: int
    gap: DomainGap | None
    probe: ProbeScore | None
    crop_loss: float
    stages: int
    image_size: int
    aspect: Literal["crop", "squash"]
    trainable: bool

    @property
    def grouped(self) -> bool:
        """Whether some images belong together."""
        return self.groups < self.rows

    @property
    def imbalance(self) -> float:
        """Images of the most frequent class for one of the least frequent."""
        return self.class_max / max(1, self.class_min)
