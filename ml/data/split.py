"""Split whole groups into train, validation and test: stratified and deterministic."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from ml.files import content_key
from ml.settings.line import SplitConfig

# Groups that a kind needs to be in all three splits.
_IN_ALL = 3


def split_groups(kinds: Sequence[tuple[str, str]], config: SplitConfig) -> dict[str, str]:
    """Give each group a split.

    `kinds` are (group, kind) of each image, the kind being a defect type or `ok`. Groups are
    stratified by their rarest kind, ordered by a hash of seed and name, and dealt so that each
    kind comes as near to the wanted shares as whole groups allow. Defect types of one or two groups
    are dealt together, a group of each for training first. A kind of two groups or more always has
    one in training: where the shares leave it none, the split that has most of it gives one up. The
    result does not depend on the order of `kinds`.
    """
    frequency = Counter(kind for _, kind in kinds)
    members: dict[str, set[str]] = defaultdict(set)
    for group, kind in kinds:
        members[group].add(kind)
    strata: dict[str, list[str]] = defaultdict(list)
    for group, found in members.items():
        strata[min(found, key=lambda kind: (frequency[kind], kind))].append(group)

    def ordered(groups: Iterable[str]) -> list[str]:
        return sorted(groups, key=lambda group: content_key([config.seed, group]))

    # Each alone would go to training whole, and leave nothing to tune on and to test on.
    rare = [
        ordered(strata.pop(kind))
        for kind in sorted(strata)
        if kind != "ok" and len(strata[kind]) < _IN_ALL
    ]
    firsts, others = [groups[0] for groups in rare], [one for groups in rare for one in groups[1:]]
    splits = _deal([*ordered(others), *ordered(firsts)], config)
    for groups in strata.values():
        splits |= _deal(ordered(groups), config)
    everyone = ordered(members)
    for kind in sorted(frequency):
        _let_learn([group for group in everyone if kind in members[group]], splits)
    return splits


def _let_learn(groups: list[str], splits: dict[str, str]) -> None:
    """Move one of a kind's groups to training where it has several, and none there."""
    found = Counter(splits[group] for group in groups)
    if len(groups) > 1 and "train" not in found:
        fullest = max(sorted(found), key=lambda split: found[split])
        splits[next(group for group in groups if splits[group] == fullest)] = "train"


def _deal(groups: list[str], config: SplitConfig) -> dict[str, str]:
    count = len(groups)
    test = round(count * config.test)
    validation = round(count * config.validation)
    if count >= _IN_ALL:
        # A kind that can be in all three must be: a threshold needs it, and so does a test.
        test, validation = max(test, 1), max(validation, 1)
    names = ["test"] * test + ["validation"] * validation
    names += ["train"] * (count - len(names))
    return dict(zip(groups, names, strict=False))
