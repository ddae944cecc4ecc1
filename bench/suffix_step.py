"""The training step above a cut, with BatchNorm as its authors wrote it and folded into the convolutions: images/s.

``python bench/suffix_step.py --cuts 8 6 4`` times forward, backward and optimizer in turns on random boundaries, in
float32, in bf16, and in bf16 with depthwise convolutions in float32, channels first and last, and prints a Markdown
table; a second table has the fastest setting with memory handed back to the system after each step, and reused.
``--profile`` adds the operators that take most of the time before and after. Needs ``headstart[train]``.
"""

from __future__ import annotations

import argparse
import time
from contextlib import AbstractContextManager, nullcontext

import torch

from headstart.backbones.catalogue import find_backbone
from headstart.backbones.pytorch.folding import unfold
from headstart.backbones.pytorch.suffix import TrainableSuffix
from headstart.training.finetuning.depthwise import depthwise_in_float32
from headstart.training.finetuning.memory import memory_reused

# Whether convolutions compute in bf16, whether depthwise ones are left out of that, and whether channels lie last.
Setting = tuple[bool, bool, bool]
SETTINGS: list[Setting] = [
    (bf16, apart, last) for bf16, apart in ((False, False), (True, False), (True, True)) for last in (False, True)
]
BEFORE, AFTER = (False, False, True), (True, True, True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="bundled/tf_efficientnet_lite0")
    parser.add_argument("--cuts", type=int, nargs="+", default=[8, 6, 4])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    backbone = find_backbone(options.backbone)
    print("| cut | setting | norms apart | folded | gain |\n|---|---|--:|--:|--:|")
    for cut in options.cuts:
        boundary = torch.randn((options.batch, *backbone.boundary_shape(cut)))
        for setting in SETTINGS:
            steps = [Step(backbone.trainable(cut), boundary, setting, folded=folded) for folded in (False, True)]
            seconds = [[step.run() for step in steps] for _ in range(options.rounds + 1)][1:]
            apart, folded = (options.batch / min(times) for times in zip(*seconds, strict=True))
            print(f"| {cut} | {said(setting)} | {apart:.0f}/s | {folded:.0f}/s | {folded / apart:.2f} × |", flush=True)
        for setting in (BEFORE, AFTER) if options.profile else ():
            print(f"\ncut {cut}: {said(setting)}, norms {'folded' if setting is AFTER else 'apart'}")
            profile(Step(backbone.trainable(cut), boundary, setting, folded=setting is AFTER))
    print("\n| cut | memory handed back | reused | gain |\n|---|--:|--:|--:|")
    for cut in options.cuts:
        boundary = torch.randn((options.batch, *backbone.boundary_shape(cut)))
        step = Step(backbone.trainable(cut), boundary, AFTER, folded=True)
        seconds = [(step.run_often(), step.run_often(memory_reused())) for _ in range(options.rounds)]
        back, reused = (options.batch / min(times) for times in zip(*seconds, strict=True))
        print(f"| {cut} | {back:.0f}/s | {reused:.0f}/s | {reused / back:.2f} × |", flush=True)


def said(setting: Setting) -> str:
    bf16, apart, last = setting
    precision = f"bf16{', depthwise in float32' if apart else ''}" if bf16 else "float32"
    return f"{precision}, channels {'last' if last else 'first'}"


class Step:
    """One step of training, ready to be repeated."""

    def __init__(self, suffix: TrainableSuffix, boundary: torch.Tensor, setting: Setting, *, folded: bool) -> None:
        bf16, apart, last = setting
        if not folded:
            unfold(suffix)
        depthwise_in_float32(suffix, apart)
        layout = torch.channels_last if last else torch.contiguous_format
        self._suffix = suffix.train().to(memory_format=layout)
        self._boundary, self._bf16 = boundary.to(memory_format=layout), bf16
        self._optimizer = torch.optim.AdamW(suffix.parameters(), lr=1e-5, fused=True)

    def run(self) -> float:
        """Seconds of one step."""
        started = time.perf_counter()
        self._optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            loss = self._suffix(self._boundary).float().square().mean()
        loss.backward()
        self._optimizer.step()
        return time.perf_counter() - started

    def run_often(self, within: AbstractContextManager[None] | None = None) -> float:
        """Seconds of a step in the middle of several."""
        with within or nullcontext():
            return sorted(self.run() for _ in range(5))[2]


def profile(step: Step) -> None:
    """Print the operators that take most of a step's time."""
    step.run()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        for _ in range(3):
            step.run()
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=10, max_name_column_width=40))


if __name__ == "__main__":
    main()
