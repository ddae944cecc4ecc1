"""Licences: one spelling each, and what is refused, allowed with a line, or allowed in silence."""

from __future__ import annotations

import pytest

from headstart.backbones.licences import (
    PERMISSIVE,
    check_allowed,
    is_non_commercial,
    is_permissive,
    normalise,
    require_licence,
)
from headstart.errors import OptionError

NON_COMMERCIAL = [
    "cc-by-nc-4.0", "CC-BY-NC-SA-4.0", "cc-by-nc-nd-4.0", "apple-amlr", "seer-license", "msrla", "owkin-non-commercial",
    "fair-noncommercial-research-license",
]  # fmt: skip
OWN_TERMS = ["dinov3-license", "apple-ascl", "gemma", "nvidia-open-model-license", "cc-by-sa-4.0", "gpl-3.0"]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("MIT", "MIT"),
        ("bsd-3-clause", "BSD-3-Clause"),
        (" cc-by-nc-4.0 ", "CC-BY-NC-4.0"),
        ("dinov3-license", "dinov3-license"),
        (None, "unknown"),
        ("", "unknown"),
        ("other", "unknown"),
        (["mit"], "unknown"),
        ("\x1b[31mMIT\n\nor  not", "[31mMIT or not"),
        ("A" * 1000, "A" * 80),
    ],
)
def test_a_licence_has_one_spelling(given: object, name: str) -> None:
    assert normalise(given) == name
    assert normalise(normalise(given)) == name


def test_no_licence_is_both_permissive_and_non_commercial() -> None:
    assert not any(is_non_commercial(name) for name in PERMISSIVE)
    assert not any(is_permissive(name) for name in [*NON_COMMERCIAL, *OWN_TERMS, "unknown"])
    assert not any(is_non_commercial(name) for name in [*OWN_TERMS, "unknown"])


@pytest.mark.parametrize("licence", NON_COMMERCIAL)
def test_what_is_for_non_commercial_use_is_refused_with_the_way_out(licence: str) -> None:
    with pytest.raises(OptionError, match=r"timm/x: .*non-commercial.*--licence any"):
        require_licence("timm/x", licence, "permissive")
    assert require_licence("timm/x", licence, "any") is None


@pytest.mark.parametrize("licence", [*OWN_TERMS, "unknown", ""])
def test_terms_that_only_the_user_can_judge_are_said(licence: str) -> None:
    said = require_licence("timm/x", licence, "permissive")
    assert said is not None
    assert "check" in said
    assert require_licence("timm/x", licence, "any") is None


@pytest.mark.parametrize("licence", ["apache-2.0", "MIT", "bsd-3-clause", "cc-by-4.0"])
def test_permissive_weights_are_taken_in_silence(licence: str) -> None:
    assert require_licence("timm/x", licence, "permissive") is None


def test_another_choice_is_refused() -> None:
    with pytest.raises(OptionError, match="permissive or any"):
        check_allowed("commercial")
