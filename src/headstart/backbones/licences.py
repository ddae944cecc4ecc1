"""Licences of weights: one spelling each, which of them allow commercial use, and the refusal of those that don't.

The names are SPDX identifiers where there is one, else the id that the weights' publisher uses. Nothing here is legal
advice: the table says what the licence's own text says about commercial use, and an id that it doesn't know is passed
on to the user to check.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

from headstart.errors import OptionError

Allowed = Literal["permissive", "any"]

UNKNOWN = "unknown"

# Use, change and sale are allowed; at most the notice must be kept or the author named.
PERMISSIVE = frozenset(
    {
        "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC-BY-3.0", "CC-BY-4.0", "CC0-1.0", "ISC",
        "MIT", "Unlicense", "Zlib",
    }
)  # fmt: skip

# Other spellings in SPDX's list that the hubs' lower-case ids stand for.
_OTHER_SPDX = (
    "AGPL-3.0", "Artistic-2.0", "CC-BY-NC-2.0", "CC-BY-NC-3.0", "CC-BY-NC-4.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-3.0",
    "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "EPL-2.0", "GPL-2.0", "GPL-3.0", "LGPL-2.1",
    "LGPL-3.0", "MPL-2.0",
)  # fmt: skip
_SPELLING = {name.lower(): name for name in (*PERMISSIVE, *_OTHER_SPDX)} | {
    "apache 2.0": "Apache-2.0",
    "apache2.0": "Apache-2.0",
    "bsd": "BSD-3-Clause",
}
_LONGEST = 80
_NO_NAME = {"", "none", "other", "unknown"}

# Licences whose own text limits use to research or excludes commercial use, and whose name doesn't say so.
_RESEARCH_ONLY = frozenset(
    {
        "apple-amlr",  # Apple Machine Learning Research Model licence: "exclusively for Research Purposes"
        "msrla",  # Microsoft Research License Agreement
        "seer-license",  # SEER licence agreement of Meta: non-commercial research
    }
)
_SAYS_NON_COMMERCIAL = re.compile(r"non-?commercial|(^|-)nc(-|$)|research-only")


def normalise(licence: object) -> str:
    """The SPDX identifier of a hub's or timm's licence id; an id without one as it is, and ``unknown`` for none.

    Whoever published the weights wrote it: only the first 80 printable letters of a text are taken.
    """
    text = " ".join(licence.split()) if isinstance(licence, str) else ""
    name = "".join(letter for letter in text if letter.isprintable())[:_LONGEST]
    if name.lower() in _NO_NAME:
        return UNKNOWN
    return _SPELLING.get(name.lower(), name)


def is_permissive(licence: str) -> bool:
    """Whether it is one of :data:`PERMISSIVE`, in any spelling."""
    return normalise(licence) in PERMISSIVE


def is_non_commercial(licence: str) -> bool:
    """Whether it is known to forbid commercial use: by its name, or as a research licence of the table here."""
    name = normalise(licence).lower()
    return name in _RESEARCH_ONLY or _SAYS_NON_COMMERCIAL.search(name) is not None


def require_licence(name: str, licence: str, allowed: Allowed) -> str | None:
    """Refuse weights that are known to be non-commercial, unless any licence is allowed.

    Parameters
    ----------
    name:
        The backbone, for the message.
    licence:
        The licence of its weights, in any spelling.
    allowed:
        ``permissive`` refuses what is known to be non-commercial; ``any`` refuses nothing.

    Returns
    -------
    A line for the user where the licence has terms that only they can judge (unknown, or with conditions of its own),
    else ``None``.

    Raises
    ------
    OptionError
        If the licence is refused.
    """
    found = normalise(licence)
    if allowed == "any" or is_permissive(found):
        return None
    if is_non_commercial(found):
        raise OptionError(
            f"{name}: its weights are for non-commercial use only ({found}); choose another backbone, "
            "or allow it with --licence any"
        )
    if found == UNKNOWN:
        return f"{name}: the licence of its weights is not recorded; check it before you use the model"
    return f"{name}: its weights have a licence with terms of its own, {found}; check that they allow your use"


def check_allowed(allowed: str) -> None:
    """Raise :class:`OptionError` for anything but ``permissive`` and ``any``."""
    if allowed not in get_args(Allowed):
        raise OptionError(f"unknown licence choice {allowed!r}: choose {' or '.join(get_args(Allowed))}")
