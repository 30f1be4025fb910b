"""Split whole groups into train, validation and test: stratified and deterministic."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from ml.files import content_key
from ml.settings.line import SplitConfig


def split_groups(kinds: Sequence[tuple[str, str]], config: SplitConfig) -> dict[str, str]:
    """Give each group a split.

    `kinds` are (group, kind) of each image, the kind being a defect type or `ok`. Groups are
    stratified by their rarest kind, ordered by a hash of seed and name, and dealt so that each
    kind comes as near to the wanted shares as whole groups allow. The result does not depend on
    the order of `kinds`.
    """
    frequency = Counter(kind for _, kind in kinds)
    members: dict[str, set[str]] = defaultdict(set)
    for group, kind in kinds:
        members[group].add(kind)
    strata: dict[str, list[str]] = defaultdict(list)
    for group, found in members.items():
        strata[min(found, key=lambda kind: (frequency[kind], kind))].append(group)
    splits: dict[str, str] = {}
    for kind in sorted(strata):
        ordered = sorted(strata[kind], key=lambda group: content_key([config.seed, group]))
        splits |= _deal(ordered, config)
    return splits


def _deal(groups: list[str], config: SplitConfig) -> dict[str, str]:
    count = len(groups)
    test = round(count * config.test)
    validation = round(count * config.validation)
    if count >= 3:
        # A kind that can be in all three must be: a threshold needs it, and so does a test.
        test, validation = max(test, 1), max(validation, 1)
    names = ["test"] * test + ["validation"] * validation
    names += ["train"] * (count - len(names))
    return dict(zip(groups, names, strict=False))
