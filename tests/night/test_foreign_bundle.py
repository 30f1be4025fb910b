"""A bundle of another line knows other parts: it passes none of this line's."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_line
from click.testing import CliRunner
from test_steps import LINE
from tiny_line import Tiny

from ml import files
from ml.cli.main import main
from ml.data import predicted
from ml.errors import BundleError
from ml.inference.batch import predict_shards
from ml.inference.night import plan_night

DAY = tiny_line.DAY


@pytest.fixture
def foreign(live: Tiny) -> str:
    """A bundle of the line `other`, signed by the same installation."""
    line = live.line.model_copy(update={"name": "other"})
    tiny_line.write_dataset(live.home, "other", tiny_line.add_images(live.home, "other"))
    tiny_line.write_runs(live.home, line)
    return replace(live, line=line).evaluate().name


def _verdicts(tiny: Tiny) -> Counter[tuple[str, str]]:
    rows = predicted.read(tiny.home, "tiny", day=DAY).to_pylist()
    return Counter((row["verdict"], row["bundle"]) for row in rows)


def test_a_live_file_that_names_a_foreign_bundle_holds_every_part(live: Tiny, foreign: str) -> None:
    record = {"line": "tiny", "bundle": foreign, "previous": None, "number": 1}
    files.write_json(live.home.live("tiny"), record)
    plan = plan_night(live.home, live.line, DAY)
    predict_shards(live.home, plan, range(len(plan.sizes)), 3, 1)
    assert _verdicts(live) == {("review", foreign): tiny_line.DAY_IMAGES}


def test_a_foreign_shadow_is_left_out(live: Tiny, foreign: str) -> None:
    plan = replace(plan_night(live.home, live.line, DAY), shadow=foreign)
    predict_shards(live.home, plan, range(len(plan.sizes)), 3, 1)
    assert ("pass", plan.bundle) in _verdicts(live)
    assert predicted.read(live.home, "tiny", day=DAY, name="shadow").num_rows == 0


@pytest.mark.parametrize("option", ["bundle", "shadow"])
def test_what_was_asked_for_by_name_is_refused_before_the_day_is_planned_anew(
    live: Tiny, foreign: str, option: str
) -> None:
    plan = plan_night(live.home, live.line, DAY)
    before = live.home.night("tiny", DAY).read_bytes()
    asked = {
        foreign: f"bundle {foreign} is of line other, not of tiny",
        f"../bundles/{plan.bundle}": "not a bundle's name",
        "nosuch": "'nosuch': not a bundle's name",
        "f" * 32: "not a bundle, it has no MANIFEST",
    }
    for name, said in asked.items():
        with pytest.raises(BundleError, match=said):
            plan_night(live.home, live.line, DAY, **{option: name})
    assert live.home.night("tiny", DAY).read_bytes() == before


def test_predict_refuses_a_bundle_that_it_is_given_and_keeps_the_rows(
    live: Tiny, foreign: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "tiny.toml").write_text(LINE)
    monkeypatch.setenv("LOUPE_HOME", str(live.home.root))
    monkeypatch.setenv("LOUPE_LINES", str(tmp_path / "lines"))
    plan = plan_night(live.home, live.line, DAY)
    step = ["predict", "--line", "tiny", "--day", DAY, "--bundle"]
    assert CliRunner().invoke(main, [*step, plan.bundle]).exit_code == 0
    before = _verdicts(live)
    for name in (foreign, f"../bundles/{plan.bundle}", "nosuch"):
        done = CliRunner().invoke(main, [*step, name])
        assert done.exit_code == 2, done.stderr
        assert name in done.stderr
    assert _verdicts(live) == before
    # The night's own bundle, which Airflow names too: the night goes on, and its parts are held.
    (live.home.bundle(plan.bundle) / "card.json").write_text("{}")
    assert CliRunner().invoke(main, [*step, plan.bundle]).exit_code == 0
    assert _verdicts(live) == {("review", plan.bundle): tiny_line.DAY_IMAGES}
