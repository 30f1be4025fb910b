"""The night in one pass: full batches, bounded shards, the same rows however it is cut."""

import shutil
import time
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_line
from hypothesis import given
from hypothesis import strategies as st
from tiny_line import Tiny

from ml import files
from ml.data import catalog, predicted
from ml.errors import CountError
from ml.imaging import Pixels
from ml.inference import batch
from ml.inference.batch import predict_shards
from ml.inference.engine import Batch, ModelSet, Outputs
from ml.inference.night import deal, plan_night, read_plan, shard_rows
from ml.inference.publish import publish
from ml.inference.reconcile import reconcile
from ml.inference.speed import night_speed
from ml.results import ResultStore
from ml.settings.line import NightConfig

DAY = tiny_line.DAY
IMAGES = tiny_line.DAY_IMAGES
MEGABYTE = 1_000_000


def _rows(tiny: Tiny) -> list[dict[str, Any]]:
    return predicted.read(tiny.home, "tiny", day=DAY).to_pylist()


@given(
    st.lists(st.integers(0, 3 * MEGABYTE), max_size=60), st.integers(1, 9), st.integers(1, 4)
)  # fmt: skip
def test_no_shard_has_more_images_or_bytes_than_it_may(
    sizes: list[int], most_images: int, most_megabytes: int
) -> None:
    shards = deal(sizes, most_images, most_megabytes)
    assert sum(shards) == len(sizes)
    start = 0
    for count in shards:
        held = sizes[start : start + count]
        assert 1 <= count <= most_images
        assert sum(held) <= most_megabytes * MEGABYTE or count == 1
        start += count
    # No shard could have taken the next one's first image.
    ends = [sum(shards[: number + 1]) for number in range(len(shards) - 1)]
    for count, end in zip(shards, ends, strict=False):
        full = count == most_images
        assert full or sum(sizes[end - count : end + 1]) > most_megabytes * MEGABYTE


def test_shards_follow_the_bytes_of_their_images(live: Tiny) -> None:
    images = catalog.read_images(live.home, "tiny", day=DAY)
    heavy = images.set_column(
        images.schema.get_field_index("bytes"), "bytes", [[400_000] * IMAGES]
    ).cast(catalog.IMAGES)
    catalog.upsert_images(live.home, "tiny", heavy)
    night = live.line.night.model_copy(update={"shard_megabytes": 1})
    plan = plan_night(live.home, live.line.model_copy(update={"night": night}), DAY)
    assert plan.sizes == (2,) * (IMAGES // 2)


def test_a_plan_of_the_version_before_keeps_its_shards(live: Tiny) -> None:
    plan = plan_night(live.home, live.line, DAY)
    old = {
        "line": "tiny", "day": DAY, "bundle": plan.bundle, "images": IMAGES, "shard_images": 7,
        "images_version": plan.images_version,
    }  # fmt: skip
    files.write_json(live.home.night("tiny", DAY), old)
    assert read_plan(live.home, live.line, DAY) == replace(plan, held=False)


@pytest.mark.parametrize(
    "harm", ["none", "gone", "cut", "footer", "page", "other shards", "other version"]
)
def test_the_images_beside_a_plan_are_used_only_where_they_are_its_own(
    live: Tiny, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_night(live.home, live.line, DAY)
    wanted = list(shard_rows(live.home, plan, [0, 8]))
    path = live.home.night_images("tiny", DAY)
    if harm == "gone":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif harm == "footer":
        whole = path.read_bytes()
        at = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
        path.write_bytes(whole[:at] + bytes(40) + whole[at + 40 :])
    elif harm == "page":
        whole = path.read_bytes()
        at = whole.index(wanted[-1]["sha256"].encode())
        path.write_bytes(whole[:at] + b"0" * 8 + whole[at + 8 :])
    elif harm == "other shards":
        plan_night(live.home, live.line.model_copy(update={"night": NightConfig()}), DAY)
    elif harm == "other version":
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata({"images_version": "99"}), path)
    asked = []
    read = catalog.read_planned
    monkeypatch.setattr(catalog, "read_planned", lambda *a, **k: asked.append(a) or read(*a, **k))
    assert list(shard_rows(live.home, plan, [0, 8])) == wanted
    assert bool(asked) == (harm != "none")
    # Planned again, the file is mended.
    plan_night(live.home, live.line, DAY)
    asked.clear()
    assert list(shard_rows(live.home, plan, [0, 8])) == wanted
    assert not asked


def test_all_shards_in_one_process_give_the_rows_of_each_alone(live: Tiny) -> None:
    plan = plan_night(live.home, live.line, DAY)
    done = predict_shards(live.home, plan, range(len(plan.sizes)), 3, 2)
    assert done.images == IMAGES == sum(done.counts.values())
    together = _rows(live)
    for shard in (8, 0, 3):
        predict_shards(live.home, plan, [shard], 3, 1)
    assert _rows(live) == together


def test_a_backfill_gives_what_the_night_would_have_given(live: Tiny, store: ResultStore) -> None:
    def run(bundle: str | None) -> tuple[list[dict[str, Any]], list[Any], bytes]:
        plan = plan_night(live.home, live.line, DAY, bundle)
        predict_shards(live.home, plan, range(len(plan.sizes)), 3, 1)
        publish(live.home, store, "tiny", DAY)
        reconcile(live.home, store, "tiny", DAY)
        documents = [store.find(name) for name in ("shards", "parts", "nights")]
        return _rows(live), documents, live.home.ledger("tiny", DAY).read_bytes()

    champion = plan_night(live.home, live.line, DAY).bundle
    then = run(None)
    for path in (live.home.night("tiny", DAY), live.home.ledger("tiny", DAY), live.home.results):
        path.unlink()
    shutil.rmtree(live.home.table("tiny", "predictions"))
    # Since then another bundle was promoted, and images of a later day came.
    files.write_json(live.home.live("tiny"), {"bundle": "another", "number": 2})
    later = catalog.read_images(live.home, "tiny", day=DAY).to_pylist()[0]
    later |= {"object": "later.png", "day": "2026-01-06"}
    catalog.upsert_images(live.home, "tiny", pa.Table.from_pylist([later], catalog.IMAGES))
    assert run(champion) == then


def test_reconcile_names_the_shards_that_differ_and_what_to_run(
    live: Tiny, store: ResultStore
) -> None:
    plan = plan_night(live.home, live.line, DAY)
    predict_shards(live.home, plan, [0, 1, 2, 3, 4, 5, 7], 3, 1)
    publish(live.home, store, "tiny", DAY)
    store.delete("shards", [f"tiny__{DAY}__0003"])
    with pytest.raises(CountError) as caught:
        reconcile(live.home, store, "tiny", DAY)
    said = str(caught.value)
    assert "shard 6: 7 without a prediction: 042.png" in said
    assert "shard 8: 4 without a prediction: 056.png, 057.png" in said
    assert "shard 3: 7 predictions, its document: None" in said
    steps = [line.removeprefix("  run: loupe ") for line in said.splitlines() if "run: " in line]
    options = f"--line tiny --day {DAY}"
    assert steps == [
        f"predict {options} --shard 6",
        f"predict {options} --shard 8",
        f"publish {options}",
        f"reconcile {options}",
    ]
    predict_shards(live.home, plan, [6, 8], 3, 1)
    publish(live.home, store, "tiny", DAY)
    assert reconcile(live.home, store, "tiny", DAY).documents == IMAGES


def test_batches_are_full_whatever_files_are_broken(
    live: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = live.line.night.model_copy(update={"shard_images": 30})
    plan = plan_night(live.home, live.line.model_copy(update={"night": night}), DAY)
    for row in catalog.read_images(live.home, "tiny", day=DAY).to_pylist()[4:10]:
        live.home.object(row["sha256"]).write_bytes(b"broken")
    sizes: list[int] = []
    honest = ModelSet.run

    def counted(self: ModelSet, gathered: Batch) -> Outputs:
        sizes.append(len(gathered.images))
        return honest(self, gathered)

    monkeypatch.setattr(ModelSet, "run", counted)
    predict_shards(live.home, plan, [0, 1], 8, 2)
    # Two workers: they may begin the last two batches in either order.
    assert sorted(sizes) == [6, 8, 8, 8, 8, 8, 8]
    assert sum("altered" in row["reason"] for row in _rows(live)) == 6


def test_the_slowest_stage_is_named_and_kept_for_the_operator(
    live: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = batch.decode

    def slow(content: bytes, bits: int | None) -> Pixels:
        time.sleep(0.05)
        return honest(content, bits=bits)

    monkeypatch.setattr(batch, "decode", slow)
    plan = plan_night(live.home, live.line, DAY)
    assert night_speed(live.home, "tiny", DAY)["processes"] == 0
    done = predict_shards(live.home, plan, [0], 3, 1)
    assert done.stages["decode"]["images_per_s"] <= 20
    slowest = min(done.stages, key=lambda name: done.stages[name]["images_per_s"])
    # Writing seven images alone may take as long where the machine is busy.
    assert done.binds == slowest in ("decode", "write")
    assert done.stages["infer"]["images"] == done.stages["write"]["images"] == 7
    predict_shards(live.home, plan, [1, 2], 3, 1)
    whole = night_speed(live.home, "tiny", DAY)
    assert (whole["processes"], whole["images"]) == (2, 21)
    assert whole["stages"]["read"]["images"] == 21
    assert whole["stages"]["decode"]["busy_s"] >= 21 * 0.05
    assert whole["providers"] == ["CPUExecutionProvider"]
    # Measured again: what stood of the same shards goes.
    predict_shards(live.home, plan, [0, 1, 2], 3, 1)
    whole = night_speed(live.home, "tiny", DAY)
    assert (whole["processes"], whole["images"]) == (1, 21)
    # A shard alone, after all: the night's figures stay, and it counts once more.
    predict_shards(live.home, plan, [0], 3, 1)
    assert night_speed(live.home, "tiny", DAY)["images"] == 28


def test_memory_that_is_not_enough_ends_the_step_and_holds_no_part(
    live: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        msg = "Failed to allocate memory for requested buffer of size 1073741824"
        raise RuntimeError(msg)

    monkeypatch.setattr(ModelSet, "run", exhausted)
    plan = plan_night(live.home, live.line, DAY)
    with pytest.raises(MemoryError, match="1073741824"):
        predict_shards(live.home, plan, [0], 3, 1)
    assert _rows(live) == []
