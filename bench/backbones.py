"""Which backbones convert, how fast both engines run them here, and how true the compiled trunk is.

``python bench/backbones.py`` measures one network of every family in turns of both engines, keeps what it has measured
in ``--out`` (so that it can be stopped and go on), and writes the table between the marks of ``--page``. Weights that
are not on this machine are random: speed does not depend on them, but parity does, and random weights pass easily.
Names on the command line replace the list. Needs ``headstart[train]``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path

from main_job import machine

from headstart.features.measuring import Speed, measure_named
from headstart.reporting.backbone_list import SPEED_COLUMNS, speed_cells

NAMES = (
    "bundled/tf_efficientnet_lite0",
    "bundled/tf_efficientnet_lite1",
    "bundled/tf_efficientnet_lite2",
    "timm/mobilenetv2_100",
    "torchvision/squeezenet1_1",
    "timm/vgg16",
    "timm/resnet18",
    "timm/resnet50",
    "timm/resnext50_32x4d",
    "timm/wide_resnet50_2",
    "timm/regnety_032",
    "timm/inception_v3",
    "timm/densenet121",
    "timm/mobilenetv3_large_100",
    "timm/mobilenetv4_conv_medium",
    "timm/efficientnet_b0",
    "timm/tf_efficientnetv2_b0",
    "timm/convnext_tiny",
    "timm/vit_small_patch16_224",
    "timm/deit_small_patch16_224",
    "timm/vit_small_patch14_dinov2",
    "timm/vit_small_patch16_dinov3",
    "timm/swin_tiny_patch4_window7_224",
    "timm/swinv2_tiny_window8_256",
    "timm/eva02_small_patch14_224",
    "timm/vit_base_patch16_siglip_224",
    "timm/vit_base_patch32_clip_224",
    "timm/maxvit_tiny_tf_224",
)
MARKS = ("<!-- measured by bench/backbones.py: begin -->", "<!-- end -->")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--out", type=Path, default=Path("bench/results/backbones.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/backbones.md"))
    parser.add_argument("--again", action="store_true", help="measure anew what is there already")
    options = parser.parse_args()
    shared = os.environ.get("HEADSTART_SHARED")
    if shared:
        os.environ.setdefault("HEADSTART_WEIGHTS", str(Path(shared) / "weights"))
    kept = {} if options.again or not options.out.is_file() else json.loads(options.out.read_text())["speeds"]
    for name in options.names:
        if name not in kept:
            kept[name] = dataclasses.asdict(measure_named(name))
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps({"machine": machine(), "speeds": kept}, indent=1))
        print(name, *speed_cells(Speed(**kept[name])), flush=True)
    write_table(options.page, [Speed(**kept[name]) for name in options.names])


def write_table(page: Path, speeds: list[Speed]) -> None:
    """Put the table between the page's marks."""
    head = ("backbone", "parameters", "MACs", *SPEED_COLUMNS)
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(['---', *['--:'] * (len(head) - 1)])}|"]
    for speed in speeds:
        counts = (f"{speed.parameters / 1e6:.1f} M", f"{speed.macs / 1e9:.2f} G")
        lines.append(f"| {' | '.join((speed.name, *counts, *speed_cells(speed)))} |")
    before, _, rest = page.read_text().partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    page.write_text(f"{before}{MARKS[0]}\n\n" + "\n".join(lines) + f"\n\n{MARKS[1]}{after}")


if __name__ == "__main__":
    main()
