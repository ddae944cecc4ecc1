"""Class names that look like one name written in two ways."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import combinations

from headstart.auditing.findings import Finding

KIND = "similar_class_names"
LEAST_LETTERS = 5
"""A letter too many or too few, or two swapped, is taken for a slip in words of at least so many letters."""

LEAST_LETTERS_WRONG = 8
"""And a wrong letter in words of so many: among the thousand names of ImageNet four pairs of six letters differ by one
and mean different things (castle and cattle), and none that are longer."""

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
    for pair in _a_letter_apart(names):
        if pair not in seen and _is_slip(*pair):
            yield (*pair, "only by a slip")


def _a_letter_apart(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Pairs with the same digits that share what is left when a letter is taken out of one or of both.

    Their number grows with the number of names and not with its square.
    """
    places: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for name in names:
        word = _letters(name)
        if len(word) >= LEAST_LETTERS:
            taken = [word[:place] + word[place + 1 :] for place in range(len(word)) if not word[place].isdigit()]
            for left in {word, *taken}:
                places[_digits(word), left].append(name)
    pairs = {pair for alike in places.values() for pair in combinations(alike, 2)}
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
    """Whether one insertion, deletion, substitution or swap leads from one name to the other, in a word long enough.

    So ``stage II`` and ``stage III`` are two names: what differs is a word of two letters.
    """
    words, others = (re.split(r"[\W_]+", name.casefold()) for name in (one, other))
    if len(words) == len(others):
        differing = [pair for pair in zip(words, others, strict=True) if pair[0] != pair[1]]
        return len(differing) == 1 and _is_slip_of_a_word(_letters(differing[0][0]), _letters(differing[0][1]))
    return _is_slip_of_a_word(_letters(one), _letters(other))


def _is_slip_of_a_word(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    if len(short) < LEAST_LETTERS:
        return False
    start = 0
    while start < len(short) and short[start] == long[start]:
        start += 1
    if len(long) > len(short):
        return short[start:] == long[start + 1 :]
    swapped = short[start : start + 2] == long[start : start + 2][::-1] and short[start + 2 :] == long[start + 2 :]
    return swapped or (len(long) >= LEAST_LETTERS_WRONG and short[start + 1 :] == long[start + 1 :])


def _digits(word: str) -> str:
    return re.sub(r"\D", "", word)
