"""What to say of a name that nobody knows: the nearest of those that the catalogue lists."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from headstart.backbones.entries import entries

SHORT = {"lite0": "tf_efficientnet_lite0", "lite1": "tf_efficientnet_lite1", "lite2": "tf_efficientnet_lite2"}
"""Short names of the bundled backbones."""

_SHOWN = 3
# Their architectures are names as well: the weights that the provider prefers.
_WITHOUT_TAG = ("timm", "torchvision")


def full_name(name: str) -> str:
    """The name with its provider, where it is a short one; any other as it is."""
    return f"bundled/{SHORT[name]}" if name in SHORT else name


def unknown_backbone(name: str) -> str:
    """The message for an unknown name: the nearest ones, or where to look."""
    hint = did_you_mean(name)
    return f"unknown backbone {name!r}: {hint or 'headstart backbones lists what there is'}"


def did_you_mean(name: str) -> str:
    """The nearest names as a question; empty where the name is known or resembles none.

    The last part of the names is compared, in any case, so that a missing or wrong provider does no harm; equals
    come first, then those of the provider that was named. A folder is taken for one that ``file/`` was left out of.
    """
    if name and Path(name).is_dir():
        return f"did you mean file/{name}?"
    provider, _, wanted = name.lower().partition("/")
    wanted = (wanted or provider).rpartition("/")[2]
    spelt: defaultdict[str, list[str]] = defaultdict(list)
    for known in _known():
        spelt[known.lower().rpartition("/")[2]].append(known)
    for nickname, model in SHORT.items():
        spelt[nickname].append(f"bundled/{model}")
    if name in spelt.get(wanted, ()):
        return ""
    near = [known for match in difflib.get_close_matches(wanted, list(spelt), 2 * _SHOWN) for known in spelt[match]]
    own = [known for known in near if known.startswith(f"{provider}/")]
    best = list(dict.fromkeys([*spelt.get(wanted, ()), *own, *near]))[:_SHOWN]
    return f"did you mean {' or '.join(best)}?" if best else ""


def _known() -> Iterable[str]:
    """Every name that the catalogue lists, and the architectures among them that are names too."""
    names = dict.fromkeys(entry.name for entry in entries())
    bare = (name.partition(".")[0] for name in names if name.startswith(tuple(f"{one}/" for one in _WITHOUT_TAG)))
    return dict.fromkeys([*names, *bare])
