"""What the names of pretrained weights say: family, training data, domain, licence. Tables to read and to correct.

Used by ``build_catalogue.py``. What no row matches is called unknown rather than guessed.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

UNKNOWN = ("unknown", "unknown")
NATURAL, WEB = "natural", "web image-text"

# A word of a tag of weights (``augreg_in21k_ft_in1k`` has four) → the data it stands for, and what that data shows.
DATA = {
    "in1k": ("ImageNet-1k", NATURAL),
    "in12k": ("ImageNet-12k", NATURAL),
    "in21k": ("ImageNet-21k", NATURAL),
    "in22k": ("ImageNet-21k", NATURAL),  # two names of one collection of 21,841 classes
    "inw21k": ("ImageNet-21k", NATURAL),
    "mae": ("ImageNet-1k", NATURAL),  # masked autoencoders were pretrained on ImageNet-1k without its labels
    "fcmae": ("ImageNet-1k", NATURAL),
    "dino": ("ImageNet-1k", NATURAL),
    "jft": ("JFT-300M", NATURAL),
    "ig1b": ("Instagram-1B", NATURAL),
    "swag": ("Instagram-3.6B", NATURAL),
    "seer": ("Instagram-1B, unlabelled", NATURAL),
    "yfcc100m": ("YFCC-100M", NATURAL),
    "lvd142m": ("LVD-142M", NATURAL),
    "lvd1689m": ("LVD-1689M", NATURAL),
    "sa1b": ("SA-1B", NATURAL),
    "r896": ("SA-1B and SA-V", NATURAL),  # the SAM 2 encoders
    "r1024": ("SA-1B and SA-V", NATURAL),
    "m30m": ("Merged-30M", NATURAL),
    "m38m": ("Merged-38M", NATURAL),
    "bamboo": ("Bamboo", NATURAL),
    "sat493m": ("SAT-493M", "satellite"),
    "openai": ("OpenAI's 400M pairs", WEB),
    "laion400m": ("LAION-400M", WEB),
    "laion2b": ("LAION-2B", WEB),
    "laion5b": ("LAION-5B", WEB),
    "laiona": ("LAION-Aesthetic", WEB),
    "aesthetic": ("LAION-Aesthetic", WEB),
    "datacomp": ("DataComp", WEB),
    "datacomp1b": ("DataComp-1B", WEB),
    "datacompxl": ("DataComp-1B", WEB),
    "datacompdr": ("DataCompDR-1B", WEB),
    "mclip": ("DataCompDR-1B", WEB),
    "dfndr2b": ("DFNDR-2B", WEB),
    "dfn2b": ("DFN-2B", WEB),
    "dfn5b": ("DFN-5B", WEB),
    "commonpool": ("CommonPool", WEB),
    "metaclip": ("MetaCLIP's Common Crawl pairs", WEB),
    "metaclip2": ("MetaCLIP 2's worldwide pairs", WEB),
    "merged2b": ("Merged-2B (LAION-2B, COYO-700M)", WEB),
    "webli": ("WebLI", WEB),
    "pali": ("WebLI, then PaliGemma's mixture", WEB),
    "pali2": ("WebLI, then PaliGemma 2's mixture", WEB),
    "yfcc15m": ("YFCC-15M", WEB),
    "cc12m": ("CC-12M", WEB),
    "florence2": ("FLD-5B", WEB),
    "mscoco": ("MS COCO", WEB),
}

# What an architecture says of its data where the tag doesn't.
ARCHITECTURE_DATA = (
    (r"aimv2", ("DFN-2B, COYO and HQITP", WEB)),
    (r"^PE-Core|vit_pe_", ("Meta's 5.4B image-text pairs", WEB)),
    (r"nllb-clip", ("LAION-COCO-NLLB", WEB)),
    (r"qwen|deepseek|gemma|mobilenetv5_300m", ("unpublished images and text", WEB)),
    (r"beit3", ("ImageNet-21k and 21M image-text pairs", WEB)),
)

# The first pattern that is found in the name of an architecture gives its family; else its leading letters do.
FAMILIES = (
    (r"[sS]ig[lL][iI][pP]2", "siglip2"),
    (r"[sS]ig[lL][iI][pP]", "siglip"),
    (r"dinov3", "dinov3"),
    (r"dinov2", "dinov2"),
    (r"radio", "radio"),
    (r"^samvit", "sam"),
    (r"^sam2", "sam2"),
    (r"^(eva|EVA)02", "eva02"),
    (r"^(eva_|EVA01)", "eva"),
    (r"_pe_|^PE-", "pe"),
    (r"^beit3", "beit3"),
    (r"^aimv2", "aimv2"),
    (r"^MobileCLIP", "mobileclip"),
    (r"^ViTamin", "vitamin"),
    (r"^RN50|^RN101|^ViT-|-ViT-|^coca_|clip", "clip"),
    (r"^deit3", "deit3"),
    (r"^tiny_vit", "tiny-vit"),
    (r"^pvt_v2", "pvtv2"),
    (r"^tresnet", "tresnet"),
    (r"wide_resnet", "wide-resnet"),
    (r"resnetv2", "resnetv2"),
    (r"^(res2ne|dla60_res2ne)", "res2net"),
    (r"nfnet|^nf_", "nfnet"),
    (r"^nasnet", "nasnet"),
    (r"^(cs3|csp(resne|dark)|darknet)", "cspnet"),
    (r"botne", "botnet"),
    (r"^(sehalo|halo|eca_halo|lamhalo)", "halonet"),
    (r"^lambda", "lambdanet"),
    (r"^regnet", "regnet"),
    (r"^densenet", "densenet"),
    (r"^rexnet", "rexnet"),
    (r"^inception_next", "inception-next"),
    (r"^inception_resnet", "inception-resnet"),
    (r"^inception|^googlenet", "inception"),
    (r"^mobilenet_edgetpu", "mobilenet-edgetpu"),
    (r"mobilenet_?v2", "mobilenetv2"),
    (r"mobilenet_?v3", "mobilenetv3"),
    (r"^legacy_senet", "senet"),
    (r"resnext", "resnext"),
    (r"resnet(?!.*_clip)", "resnet"),
    (r"efficientnet_?v2", "efficientnetv2"),
    (r"efficientnet_lite", "efficientnet-lite"),
    (r"efficientnet", "efficientnet"),
    (r"vovnet", "vovnet"),
    (r"^shufflenet_v2", "shufflenetv2"),
    (r"^swin_v2", "swinv2"),
)

# The licence of open_clip's weights by their repository on the hub, as its card says; those that timm lists as well
# have the licence that timm states.
OPEN_CLIP_LICENCES = (
    (r"^laion/", "MIT"),
    (r"^UCSC-VLAA/", "Apache-2.0"),
    (r"^visheratin/", "CC-BY-NC-4.0"),
    (r"^apple/DFN", "apple-ascl"),
    (r"^(apple|timm)/MobileCLIP", "apple-amlr"),
    (r"^timm/ViT-.*SigLIP", "Apache-2.0"),
    (r"^timm/PE-Core", "Apache-2.0"),
    (r"^timm/eva", "MIT"),
    (r"^timm/vit_.*clip_\d+\.laion", "MIT"),
)


@dataclass(frozen=True)
class HubModel:
    """Weights that no library lists, with the facts that their model card states."""

    name: str
    family: str
    size: int
    source: str
    domain: str
    licence: str
    config: dict[str, object]


def family_of(architecture: str, tag: str) -> str:
    """The family of an architecture, whatever library it comes from."""
    if "dino" in tag.split("_") and architecture.startswith(("vit", "xcit", "resnet")):
        return "dino"
    if "siglip" in architecture and tag.startswith("v2_"):
        return "siglip2"
    for pattern, family in FAMILIES:
        if re.search(pattern, architecture):
            return family
    plain = re.sub(r"^(tf|legacy|dm|ese|eca|gc)_", "", architecture)
    found = re.match(r"[a-z]+?(v\d)?(?![a-z])", plain)
    return found[0] if found else plain


def data_of(architecture: str, tag: str) -> tuple[str, str]:
    """Source and domain: all data in the order of the tag, and the domain of the first."""
    found = [DATA[word] for word in tag.lower().split("_") if word in DATA]
    for pattern, data in ARCHITECTURE_DATA:
        if re.search(pattern, architecture):
            found.insert(0, data)
    if not found:
        return UNKNOWN
    if "finetuned" in tag:  # open_clip writes what came last first
        found.reverse()
    return ", then ".join(source for source, _ in itertools.groupby(source for source, _ in found)), found[0][1]


def open_clip_licence(repository: str) -> str:
    """The licence of an open_clip repository."""
    return next((licence for pattern, licence in OPEN_CLIP_LICENCES if re.search(pattern, repository)), "unknown")


def _vit(kind: str, layers: int, width: int, heads: int, patch: int, size: int) -> dict[str, object]:
    """The configuration of a plain vision transformer, as transformers names its parts."""
    return {
        "model_type": kind,
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "patch_size": patch,
        "image_size": size,
    }


# Weights on the hub that no library lists, mostly of other domains. Facts as their model cards state them:
# huggingface.co/ORGANISATION/NAME. Weights without a card that names data and licence were left out.
HUB_MODELS = (
    HubModel(
        "transformers/facebook/dinov2-small", "dinov2", 224, "LVD-142M", NATURAL, "Apache-2.0",
        _vit("dinov2", 12, 384, 6, 14, 518),
    ),
    HubModel(
        "transformers/facebook/dinov2-base", "dinov2", 224, "LVD-142M", NATURAL, "Apache-2.0",
        _vit("dinov2", 12, 768, 12, 14, 518),
    ),
    HubModel(
        "transformers/facebook/dinov2-large", "dinov2", 224, "LVD-142M", NATURAL, "Apache-2.0",
        _vit("dinov2", 24, 1024, 16, 14, 518),
    ),
    HubModel(
        "transformers/microsoft/rad-dino", "dinov2", 518, "LVD-142M, then chest X-rays", "medical", "MIT",
        _vit("dinov2", 12, 768, 12, 14, 518),
    ),
    HubModel(
        "transformers/microsoft/rad-dino-maira-2", "dinov2", 518, "LVD-142M, then chest X-rays", "medical", "msrla",
        _vit("dinov2", 12, 768, 12, 14, 518),
    ),
    HubModel(
        "transformers/owkin/phikon", "vit", 224, "40M histology tiles of TCGA", "medical", "owkin-non-commercial",
        _vit("vit", 12, 768, 12, 16, 224),
    ),
    HubModel(
        "transformers/owkin/phikon-v2", "dinov2", 224, "PANCAN-XL: 450M histology tiles", "medical",
        "owkin-non-commercial", _vit("dinov2", 24, 1024, 16, 16, 224),
    ),
    HubModel(
        "transformers/microsoft/dit-base", "beit", 224, "IIT-CDIP: 42M scanned pages", "documents", "unknown",
        _vit("beit", 12, 768, 12, 16, 224) | {"use_absolute_position_embeddings": True},
    ),
)  # fmt: skip
