"""Class names that look like one name written in two ways."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import combinations

from headstart.auditing.findings import Finding

KIND = "similar_class_names"
LETTERS_A_SLIP = 6
"""One slip of the keyboard (a letter too many, too few, wrong, or two swapped) is taken for a typing error in words of
at least so many letters: of the names of ImageNet and CIFAR-100, shorter ones mostly differ by one letter because they
mean different things (cat and rat)."""

# A list of so many names and more is one of word pairs that nobody typed by hand; comparing all would take long.
_MOST_NAMES = 3000


def class_names(counts: Mapping[str, int]) -> tuple[Finding, ...]:
    """Pairs of names that differ only by case, space, punctuation or accents, by plural, or by a slip.

    Names whose digits differ are different names (``type 1`` and ``type 2``).

    Parameters
    ----------
    counts:
        Images a class.
    """
    findings = []
    for one, other, reason in _pairs(tuple(sorted(counts))[:_MOST_NAMES]):
        evidence = f"{one!r} ({counts[one]:,} images) and {other!r} ({counts[other]:,}) differ {reason}"
        action = "if they mean the same, give them one name; then their images are one class"
        findings.append(Finding("", KIND, evidence, action))
    return tuple(findings)


def _pairs(names: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Names that are alike and why; the surest reasons first."""
    seen: set[tuple[str, str]] = set()
    for key, reason in (
        (_letters, "only by case, space, punctuation or accents"),
        (_singular, "only by a plural"),
    ):
        alike: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            alike[key(name)].append(name)
        for same in alike.values():
            for pair in combinations(same, 2):
                if pair not in seen and _letters(pair[0]):
                    seen.add(pair)
                    yield (*pair, reason)
    words = {name: _letters(name) for name in names}
    for pair in _neighbouring(words):
        if pair not in seen and _is_slip(words[pair[0]], words[pair[1]]):
            yield (*pair, "only by a slip")


def _neighbouring(words: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Pairs that share what is left when one letter is taken out of each, or of one of them: all within one slip.

    Their number grows with the number of names and not with its square.
    """
    places: defaultdict[str, list[str]] = defaultdict(list)
    for name, word in words.items():
        for left in {word, *(word[:place] + word[place + 1 :] for place in range(len(word)))}:
            places[left].append(name)
    pairs = {pair for names in places.values() if len(names) > 1 for pair in combinations(sorted(names), 2)}
    yield from sorted(pairs)


def _letters(name: str) -> str:
    """Letters and digits alone, without case and accents."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in plain if letter.isalnum())


def _singular(name: str) -> str:
    """The letters without the ending of an English plural."""
    word = _letters(name)
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and re.search(r"(s|x|z|ch|sh)es$", word):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _is_slip(one: str, other: str) -> bool:
    """Whether one insertion, deletion, substitution or swap of neighbours leads from one to the other."""
    if one == other or min(len(one), len(other)) < LETTERS_A_SLIP or _digits(one) != _digits(other):
        return False
    short, long = sorted((one, other), key=len)
    start = 0
    while start < len(short) and short[start] == long[start]:
        start += 1
    if len(long) > len(short):
        return short[start:] == long[start + 1 :]
    swapped = short[start : start + 2] == long[start : start + 2][::-1] and short[start + 2 :] == long[start + 2 :]
    return swapped or short[start + 1 :] == long[start + 1 :]


def _digits(word: str) -> str:
    return re.sub(r"\D", "", word)
