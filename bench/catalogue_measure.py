"""Parameters and multiply-accumulates of pretrained architectures, counted on PyTorch's meta device: no weights needed.

Both are of the backbone as headstart uses it: the classifier is left out, so that they lie below the published figures
of the whole network by the size of its last layer. What is counted is kept in ``bench/results/catalogue_counts.jsonl``,
one line a network and input size, and a second run goes on from there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
import transformers
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model, get_model_weights

KEPT = Path(__file__).parent / "results" / "catalogue_counts.jsonl"


@dataclass(frozen=True)
class Count:
    """What one network costs at one input side; ``macs`` is ``None`` where it can't run on the meta device."""

    key: str
    parameters: int
    macs: int | None


class Counts:
    """Counts by key, read from the kept file and added to it."""

    def __init__(self, kept: Path = KEPT) -> None:
        kept.parent.mkdir(exist_ok=True)
        lines = kept.read_text().splitlines() if kept.is_file() else []
        self._kept = kept
        self._found = {count.key: count for count in (Count(**json.loads(line)) for line in lines)}

    def of(self, key: str, build: Callable[[], nn.Module], shape: tuple[int, int, int]) -> Count:
        """The count of this key; ``build`` makes the network on the meta device if it is not known yet."""
        if key not in self._found:
            self._found[key] = count = _count(key, build, shape)
            with self._kept.open("a") as file:
                file.write(json.dumps(asdict(count)) + "\n")
        return self._found[key]


def timm_count(counts: Counts, name: str) -> Count:
    """Of ``architecture.tag``, without its classifier, at the input size of its weights."""
    shape = timm.get_pretrained_cfg(name).input_size
    key = f"timm/{name.partition('.')[0]}@{shape[1]}x{shape[2]}"
    return counts.of(key, lambda: timm.create_model(name, pretrained=False, num_classes=0), shape)


def torchvision_count(counts: Counts, model: str, size: int) -> Count:
    """Of a torchvision classifier, without its last layer."""
    return counts.of(f"torchvision/{model}@{size}", lambda: _torchvision_trunk(model, size), (3, size, size))


def open_clip_count(counts: Counts, model: str) -> Count:
    """Of the image tower of an open_clip architecture."""
    config = open_clip.get_model_config(model)
    size = config["vision_cfg"].get("image_size", 224)

    def build() -> nn.Module:
        quick = config.get("quick_gelu", False)
        return open_clip.model._build_vision_tower(config["embed_dim"], config["vision_cfg"], quick)

    return counts.of(f"open_clip/{model}@{size}", build, (3, size, size))


def transformers_count(counts: Counts, model: str, config: dict[str, Any], size: int) -> Count:
    """Of a vision model that transformers builds from this configuration."""
    settings = transformers.AutoConfig.for_model(**config)
    return counts.of(f"{model}@{size}", lambda: transformers.AutoModel.from_config(settings), (3, size, size))


def _count(key: str, build: Callable[[], nn.Module], shape: tuple[int, int, int]) -> Count:
    network = _on_meta(build).eval().requires_grad_(False)  # the counter trips over gradients of some networks
    parameters = sum(parameter.numel() for parameter in network.parameters())
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter, torch.device("meta"):
            network(torch.zeros(1, *shape))
    except Exception as error:  # whatever an architecture can't do without real numbers: the field stays empty
        print(f"{key}: not counted: {str(error).splitlines()[0][:150]}", file=sys.stderr)
        return Count(key, parameters, None)
    return Count(key, parameters, counter.get_total_flops() // 2)


def _on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """The network without memory for its weights; a few work out their widths with tensors, which need real ones."""
    try:
        with torch.device("meta"):
            return build()
    except (NotImplementedError, RuntimeError):
        return build().to("meta")


def _torchvision_trunk(model: str, size: int) -> nn.Module:
    """The network with its last layer, or SqueezeNet's last convolution, taken out."""
    options: dict[str, Any] = {"image_size": size} if model.startswith("vit_") else {}
    if model in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": False}
    network = get_model(model, weights=None, **options)
    path = "classifier.1" if model.startswith("squeezenet") else _linear_layers(network)[-1]
    network.set_submodule(path, nn.Identity())
    return network


def _linear_layers(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]


def all_timm(counts: Counts) -> Iterator[Count]:
    """Of every network that timm has weights for."""
    for name in timm.list_models(pretrained=True):
        yield timm_count(counts, name)


def main() -> None:
    """Count timm's and torchvision's networks and show how far it is."""
    torch.set_num_threads(1)
    counts = Counts()
    for number, count in enumerate(all_timm(counts)):
        if number % 100 == 0:
            print(number, count, flush=True)
    for model in sorted(_torchvision_sizes()):
        print(torchvision_count(counts, *model), flush=True)


def _torchvision_sizes() -> set[tuple[str, int]]:
    from torchvision import models

    names = models.list_models(module=models)
    return {(name, weights.transforms().crop_size[0]) for name in names for weights in get_model_weights(name)}


if __name__ == "__main__":
    main()
