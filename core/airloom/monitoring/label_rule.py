"""Which of several labels of one prediction counts. Pure: nothing here reads or writes.

The label that came last from the most trusted source is the truth, unless a caller says otherwise. All others are kept
beside it, so that another rule can be asked later.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airloom.classes import name_of
from airloom.errors import ConfigError

RULES = ("newest", "oldest", "agreed")
LONGEST = 10_000  # characters of a label


@dataclass(frozen=True)
class Label:
    """What a source says of a prediction.

    Attributes:
        subject: the prediction's id, or a key of one's own.
        text: the name of a class, or a number as `canonical` writes it.
        source: who says so.
        found: seconds since 1970, when it was known to the source.
        added: seconds since 1970, when it came here.
        by: what the subject is: `id`, `request`, or `input:COLUMN`.
        predicted: seconds since 1970, of the prediction; None where only a key is known.
    """

    subject: str
    text: str
    source: str
    found: float
    added: float
    by: str = "id"
    predicted: float | None = None


def canonical(value: Any) -> str:
    """A label as text; equal classes and equal numbers have equal texts: `7`, `7.0` and numpy's 7 are one.

    Raises:
        ValueError: it is no class and no finite number; the message goes behind "the label".
    """
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"is {value}: leave such rows out")
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if not isinstance(value, bool | int | str):
        raise ValueError(f"is {type(value).__name__}: a label is a class (text, whole number, boolean) or a number")
    text = name_of(value)
    if not text or len(text) > LONGEST:
        raise ValueError("is empty" if not text else f"has {len(text)} characters, at most {LONGEST}")
    return check_text(text)


def check_text(text: str) -> str:
    """A text that every database keeps as it is.

    Raises:
        ValueError: it has a NUL, or half a pair of surrogates.
    """
    if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError(f"{text[:40]!a} has a sign that no database keeps")
    return text


def check_rule(rule: str) -> str:
    """The rule.

    Raises:
        ConfigError: there is none of that name.
    """
    if rule not in RULES:
        raise ConfigError(f"there is no rule {rule[:40]!r}", f"there are {', '.join(RULES)}")
    return rule


def counting(labels: Sequence[Label], trust: Mapping[str, int], rule: str = "newest") -> Label | None:
    """The one of all labels of a subject that counts; None where the rule says that none does.

    Args:
        labels: of one subject, at least one, in any order.
        trust: place of each source that was named, 0 for the most trusted; all others come after these, as equals.
        rule: `newest`: the newest of the most trusted source; `oldest`: the oldest of it; `agreed`: the newest, where
            the last words of all sources are the same.
    """
    if rule == "agreed" and len({label.text for label in last_words(labels)}) > 1:
        return None
    least = len(trust)
    best = min(trust.get(label.source, least) for label in labels)
    trusted = [label for label in labels if trust.get(label.source, least) == best]
    # Of equal times the one that came later; of equal ones the text decides, so that every order gives the same.
    return min(trusted, key=_time) if rule == "oldest" else max(trusted, key=_time)


def last_words(labels: Sequence[Label]) -> list[Label]:
    """The newest label of each source: what it said before, it has corrected."""
    last: dict[str, Label] = {}
    for label in sorted(labels, key=_time):
        last[label.source] = label
    return list(last.values())


def contradict(labels: Sequence[Label]) -> bool:
    """Whether the last words of two sources differ."""
    return len({label.text for label in last_words(labels)}) > 1


def corrected(labels: Sequence[Label]) -> bool:
    """Whether a source said something else before."""
    said: dict[str, set[str]] = {}
    for label in labels:
        said.setdefault(label.source, set()).add(label.text)
    return any(len(texts) > 1 for texts in said.values())


def _time(label: Label) -> tuple[float, float, str, str]:
    return label.found, label.added, label.text, label.source
