"""The drift reference: whole groups, like a night's, of the images that nothing was fitted on."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_line
from tiny_line import Tiny

from ml.data import catalog
from ml.evaluation import draft
from ml.evaluation.evaluate import evaluate
from ml.settings import Home


def test_every_row_names_its_group(tiny: Tiny) -> None:
    images = catalog.read_images(tiny.home, "tiny").to_pylist()
    groups = {row["sha256"]: row["group"] for row in images}
    reference = pq.read_table(tiny.evaluate().reference).to_pylist()
    assert {row["sha256"]: row["group"] for row in reference}.items() <= groups.items()
    assert len(reference) == 120


def test_a_long_reference_is_cut_between_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = tiny_line.make_env(tmp_path)
    home, line = Home(env.home), tiny_line.make_line()
    # Three images of the same split to a group: 40 groups outside training.
    samples = [
        row | {"group": f"g{number // 3}"}
        for number, row in enumerate(tiny_line.add_images(home, line.name))
    ]
    tiny_line.write_dataset(home, line.name, samples)
    tiny_line.write_runs(home, line)
    monkeypatch.setattr(draft, "REFERENCE_ROWS", 50)
    reference = pq.read_table(evaluate(env, home, line, tiny_line.DATASET).bundle.reference)
    counts = pa.compute.value_counts(reference["group"]).to_pylist()
    assert [one["counts"] for one in counts] == [3] * 16
    assert reference["sha256"].to_pylist() == sorted(reference["sha256"].to_pylist())
