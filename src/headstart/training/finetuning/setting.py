"""How a network computes while it is trained: its precision and memory format, by names that a plan can keep."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal

from headstart.errors import OptionError

Precision = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True)
class Setting:
    """How a network computes.

    Attributes
    ----------
    precision:
        As Lightning Fabric names it.
    channels_last:
        Whether weights and maps lie with the channels last in memory.
    depthwise_float32:
        Whether depthwise convolutions stay in float32 where the rest is in bf16.
    """

    precision: Precision
    channels_last: bool
    depthwise_float32: bool = False

    @property
    def is_bf16(self) -> bool:
        return self.precision == "bf16-mixed"

    @property
    def name(self) -> str:
        """Such as ``float32`` or ``bf16 channels-last``."""
        parts = ["bf16" if self.is_bf16 else "float32"]
        parts += ["with float32 depthwise"] if self.depthwise_float32 else []
        return " ".join([*parts, "channels-last"] if self.channels_last else parts)


# From the simplest on: among equally fast ones the first is taken.
SETTINGS = (
    Setting("32-true", False),
    Setting("32-true", True),
    Setting("bf16-mixed", False),
    Setting("bf16-mixed", True),
    Setting("bf16-mixed", False, depthwise_float32=True),
    Setting("bf16-mixed", True, depthwise_float32=True),
)


def find_setting(name: str) -> Setting:
    """The setting that is called so.

    Raises
    ------
    OptionError
        If no setting is called so.
    """
    for setting in SETTINGS:
        if setting.name == name:
            return setting
    known = ", ".join(repr(setting.name) for setting in SETTINGS)
    raise OptionError(f"unknown precision {name!r}; there are {known}")


@dataclass(frozen=True)
class PrecisionChoice(Setting):
    """How a network is trained on one device: part of every checkpoint, because another choice gives other numbers.

    Attributes
    ----------
    images_per_second:
        Median of forward and backward passes, by the setting's name; only of settings that could be chosen.
    reason:
        One sentence.
    """

    images_per_second: dict[str, float] = field(default_factory=dict)
    reason: str = "given"

    @classmethod
    def given(cls, name: str) -> PrecisionChoice:
        """The setting that is called so, without a measurement; errors are those of :func:`find_setting`."""
        return cls(**asdict(find_setting(name)))
