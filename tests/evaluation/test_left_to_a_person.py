"""The bench of real lines promotes what the gate leaves to a person, and repeats empty nights."""

import pytest
import real_lines
import tiny_line
from tiny_line import Tiny

from ml.evaluation.documents import put_decision, put_live
from ml.evaluation.gate import judge
from ml.evaluation.switch import next_switch
from ml.results import open_results

REPEATED = ("shards", "predict", "publish", "reconcile", "drift")


def test_it_promotes_and_repeats_only_where_that_is_needed(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real_lines, "HOMES", tiny.home.root.parent)
    tiny.home.root.rename(tiny.home.root.parent / "tiny")
    env = tiny_line.make_env(tiny.home.root.parent / "tiny")
    home = tiny_line.Home(env.home)
    store, bundle = open_results(env, home), Tiny(env, home, tiny.line).evaluate()
    for day, by in (("2026-01-05", bundle.name), ("2026-01-06", "")):
        store.put("nights", {f"tiny__{day}": {"line": "tiny", "day": day, "bundle": by}})
    assert real_lines.left_to_a_person("tiny") == []

    gate = tiny.line.gate.model_copy(update={"min_groups": 21})
    kept = judge(env, home, tiny.line.model_copy(update={"gate": gate}), bundle)
    assert not kept.promote
    put_decision(store, home, bundle, "kept", kept.reasons)
    again = [(step, "--day", "2026-01-06") for step in REPEATED]
    promotion = ("promote", "--bundle", bundle.name, "--by", "bench/real_lines.py")
    assert real_lines.left_to_a_person("tiny") == [promotion, *again]

    put_live(
        store, home, tiny.line, bundle, next_switch(tiny.line, None, bundle.name, "promote", "x")
    )
    assert real_lines.left_to_a_person("tiny") == again
