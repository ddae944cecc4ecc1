"""From a transformers vision model's outputs to one embedding an image, through repeated modules that can be cut."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

_CLASS_TOKEN = ("vit", "deit", "vit_msn", "dinov2", "dinov2_with_registers", "dinov3_vit")
_OWN_POOLING = {
    "beit": "mean of the patch tokens and a norm, or the class token, as configured",
    "clip_vision_model": "class token after the last norm, before the projection to the texts' space",
    "convnext": "mean over the map, then a norm",
    "convnextv2": "mean over the map, then a norm",
    "data2vec-vision": "mean of the patch tokens and a norm, or the class token, as configured",
    "dinov3_convnext": "mean over the map, then a norm",
    "efficientnet": "mean over the map",
    "mobilenet_v1": "mean over the map",
    "mobilenet_v2": "mean over the map",
    "regnet": "mean over the map",
    "resnet": "mean over the map",
    "siglip_vision_model": "attention pooling",
    "siglip2_vision_model": "attention pooling",
    "swin": "mean of the tokens after the last norm",
    "swinv2": "mean of the tokens after the last norm",
}


def embedding_of(model: nn.Module, kind: str, size: int) -> nn.Module:
    """A network that takes normalised images (N, 3, size, size) and gives the embedding (N, D).

    Of vision transformers of the ViT and DINO kind it is the class token after the last norm; of the kinds with a
    pooling of their own (table ``_OWN_POOLING``) it is that; of any other kind the mean over the positions of the last
    hidden state.

    Parameters
    ----------
    model:
        A base model of transformers, such as ``ViTModel``.
    kind:
        The ``model_type`` of its configuration.
    size:
        Side of the input in pixels.
    """
    if kind in ("swin", "swinv2"):
        return _Swin(model, size)
    if kind == "dinov3_vit":
        return _Rotary(model, size)
    return _Pooled(model, "class token" if kind in _CLASS_TOKEN else "own" if kind in _OWN_POOLING else "mean")


class _Pooled(nn.Module):
    """A whole model and how its outputs become the embedding."""

    def __init__(self, model: nn.Module, pooling: str) -> None:
        super().__init__()
        self.model = model
        self._pooling = pooling

    def forward(self, images: Tensor) -> Tensor:
        outputs = self.model(pixel_values=images, return_dict=True)
        if self._pooling == "own":
            return outputs.pooler_output.flatten(1)
        hidden = outputs.last_hidden_state
        if self._pooling == "class token":
            return hidden[:, 0]
        return hidden.mean(1) if hidden.ndim == 3 else hidden.flatten(2).mean(2)


class _Swin(nn.Module):
    """Swin's stages one after the other; transformers hands a tuple with the map's size from stage to stage."""

    def __init__(self, model: Any, size: int) -> None:
        super().__init__()
        side = -(-size // model.config.patch_size)  # the border is padded to whole patches
        stages = []
        for stage in model.encoder.layers:
            stages.append(_SwinStage(stage, side))
            side = (side + 1) // 2
        self.embeddings = model.embeddings
        self.stages = nn.ModuleList(stages)
        self.layernorm = model.layernorm

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.embeddings(images)[0]
        for stage in self.stages:
            hidden = stage(hidden)
        return self.layernorm(hidden).mean(1)


class _SwinStage(nn.Module):
    """The blocks of one stage and the merge of patches at its end, for a map of known side."""

    def __init__(self, stage: Any, side: int) -> None:
        super().__init__()
        self.blocks = stage.blocks
        self.downsample = stage.downsample
        self._dimensions = (side, side)

    def forward(self, hidden: Tensor) -> Tensor:
        for block in self.blocks:
            hidden = block(hidden, self._dimensions)[0]
        return hidden if self.downsample is None else self.downsample(hidden, self._dimensions)


class _Rotary(nn.Module):
    """DINOv3's layers one after the other, each with the rotation that its position embedding is, as a constant."""

    def __init__(self, model: Any, size: int) -> None:
        super().__init__()
        weight = model.embeddings.patch_embeddings.weight
        cosines, sines = model.rope_embeddings(weight.new_zeros(1, 3, size, size))
        self.embeddings = model.embeddings
        self.layers = nn.ModuleList(_RotaryLayer(layer, cosines, sines) for layer in model.model.layer)
        self.norm = model.norm

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.embeddings(images)
        for layer in self.layers:
            hidden = layer(hidden)
        return self.norm(hidden)[:, 0]


class _RotaryLayer(nn.Module):
    def __init__(self, layer: nn.Module, cosines: Tensor, sines: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.layer(hidden, position_embeddings=(self.cosines, self.sines))
