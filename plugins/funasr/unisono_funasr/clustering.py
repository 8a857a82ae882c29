"""Which voiceprints are of the same person.

The most similar groups of prints are joined, one after the other, by the average similarity of
their members (average linkage), as 3D-Speaker does where there is little speech: `AHCluster` in
https://github.com/modelscope/3D-Speaker/blob/main/speakerlab/process/cluster.py
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .speech import Piece

Prints: TypeAlias = npt.NDArray[np.float32]
"""Unit vectors, (windows, size)."""
Seconds: TypeAlias = npt.NDArray[np.float64]
Numbers: TypeAlias = npt.NDArray[np.intp]
Mask: TypeAlias = npt.NDArray[np.bool_]

_NOBODY = -1


@dataclass(frozen=True)
class Rules:
    """What makes a person."""

    threshold: float
    """Average cosine similarity from which on two groups of prints are one person."""
    least: int = 1
    """People who are there for certain, as far as there are prints."""
    most: int | None = None
    """People who may be there; None means any number."""
    min_seconds: float = 0.0
    """Who speaks less is no person."""


def between(prints: Prints, windows: Sequence[Piece], threshold: float) -> Mask:
    """Return which windows hear one person end and another begin: those around them differ.

    Left to themselves, they look like a person of their own.

    :param windows: of the prints, in order of time.
    """
    found = np.zeros(len(prints), np.bool_)
    for number in range(1, len(prints) - 1):
        before, window, after = windows[number - 1 : number + 2]
        if before.end > window.start and window.end > after.start:
            found[number] = prints[number - 1] @ prints[number + 1] < threshold
    return found


def cluster(
    prints: Prints, seconds: Sequence[float], rules: Rules, unsure: Mask | None = None
) -> Numbers:
    """Return whose each print is: 0 is who speaks first, 1 who is next to speak first, and so on.

    :param prints: one or more.
    :param seconds: how much speech each print stands for.
    :param unsure: prints that say nothing about who there is; there may be others.
    """
    sure = np.arange(len(prints)) if unsure is None or unsure.all() else np.flatnonzero(~unsure)
    groups = np.full(len(prints), _NOBODY)
    groups[sure] = _grouped(prints[sure], np.asarray(seconds)[sure], rules)
    persons = np.unique(groups[groups != _NOBODY])
    means = np.stack([prints[groups == person].mean(axis=0) for person in persons])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    nearest = persons[(prints @ means.T).argmax(axis=1)]
    return _in_order(np.where(groups == _NOBODY, nearest, groups))


def _grouped(prints: Prints, seconds: Seconds, rules: Rules) -> Numbers:
    """Return the group that each print belongs to, or `_NOBODY` where a group is no person."""
    if len(prints) < 2:
        return np.zeros(len(prints), np.intp)
    from scipy.cluster.hierarchy import fcluster, linkage  # noqa: PLC0415

    # Squared distances of unit vectors are 2 - 2 * similarity.
    tree = linkage(prints, "average", "sqeuclidean")
    groups = fcluster(tree, 2 - 2 * rules.threshold, "distance")
    persons = _persons(groups, seconds, rules.min_seconds)
    count = int(groups.max())
    while rules.most is not None and len(persons) > rules.most:
        count -= 1
        groups = fcluster(tree, count, "maxclust")
        persons = _persons(groups, seconds, rules.min_seconds)
    while len(persons) < rules.least and count < len(prints):
        count += 1
        groups = fcluster(tree, count, "maxclust")
        persons = _persons(groups, seconds, rules.min_seconds)
    if len(persons) < rules.least:  # there is too little speech to be strict
        return np.asarray(fcluster(tree, rules.least, "maxclust"), np.intp)
    return np.where(np.isin(groups, persons), groups, _NOBODY)


def _persons(groups: Numbers, seconds: Seconds, least: float) -> Numbers:
    """Return the groups that speak long enough, or the one that speaks longest."""
    total = np.bincount(groups, seconds)
    found = np.flatnonzero((total > 0) & (total >= least))
    return found if len(found) else np.array([total.argmax()])


def _in_order(groups: Numbers) -> Numbers:
    """Return groups renumbered by their first members."""
    _, first, numbers = np.unique(groups, return_index=True, return_inverse=True)
    return np.asarray(first.argsort().argsort()[numbers], np.intp)


def recognize(
    voices: Sequence[Prints],
    known: Mapping[str, Prints],
    threshold: float,
    strangers: int | None = None,
) -> list[str | None]:
    """Return the name of each voice that is known, and None for the others.

    Several voices may be the same person, whom `cluster` did not recognize.

    :param threshold: as in `Rules`.
    :param strangers: how many voices may be unknown; None means any number.
    """
    if not known:
        return [None] * len(voices)
    # The product of two means is the mean of all products.
    means = np.stack([prints.mean(axis=0) for prints in voices])
    similar = means @ np.stack([prints.mean(axis=0) for prints in known.values()]).T
    best = similar.max(axis=1)
    names: list[str | None] = [None] * len(voices)
    for place, voice in enumerate(best.argsort()[::-1]):
        left = len(voices) - place
        if best[voice] >= threshold or (strangers is not None and left > strangers):
            names[voice] = list(known)[similar[voice].argmax()]
    return names
