"""A person's verdict becomes a label with a name and a time, once, and wins over the layout's."""

import logging

import pyarrow as pa
import pytest
from firestore_server import FirestoreServer
from tiny_line import Tiny

from ml.data import catalog
from ml.results import open_results
from ml.results.firestore import FirestoreStore
from ml.review.verdicts import review


@pytest.fixture
def store(tiny: Tiny):
    return open_results(tiny.env, tiny.home)


def _verdict(sha256, **changes):
    body = {"line": "tiny", "sha256": sha256, "verdict": "fail", "defect_type": "dent"}
    return body | {"by": "Ada", "at": "2026-01-06T08:00:00+00:00", "comment": ""} | changes


def test_a_verdict_becomes_a_label_with_provenance(tiny: Tiny, store) -> None:
    sha256 = catalog.read_images(tiny.home, "tiny")["sha256"][0].as_py()
    store.put("reviews", {"r": _verdict(sha256)})
    for _ in range(2):
        assert review(tiny.home, "tiny", store).labels == 1
    label = catalog.read_labels(tiny.home, "tiny")[sha256]
    assert (label["label"], label["defect_type"], label["source"]) == ("defect", "dent", "review")
    assert (label["by"], label["at"]) == ("Ada", "2026-01-06T08:00:00+00:00")


def _layout_label(tiny: Tiny, sha256: str, label: str, defect_type: str, mask: str) -> None:
    row = {"sha256": sha256, "label": label, "defect_type": defect_type, "mask": mask}
    row |= {"source": "layout", "by": "", "at": ""}
    catalog.upsert_labels(tiny.home, "tiny", pa.Table.from_pylist([row], schema=catalog.LABELS))


@pytest.mark.parametrize(
    ("verdict", "named", "label", "defect_type", "mask"),
    [
        ("fail", "", "defect", "scratch", "m" * 64),
        ("fail", "dent", "defect", "dent", "m" * 64),
        ("fail", " Dent ", "defect", "dent", "m" * 64),
        ("fail", " ", "defect", "scratch", "m" * 64),
        ("pass", "", "ok", "", ""),
    ],
)
def test_a_confirmation_keeps_mask_and_defect_type(
    tiny: Tiny, store, verdict, named, label, defect_type, mask
) -> None:
    sha256 = catalog.read_images(tiny.home, "tiny")["sha256"][0].as_py()
    _layout_label(tiny, sha256, "defect", "scratch", "m" * 64)
    store.put("reviews", {"r": _verdict(sha256, verdict=verdict, defect_type=named)})
    review(tiny.home, "tiny", store)
    found = catalog.read_labels(tiny.home, "tiny")[sha256]
    assert (found["source"], found["label"]) == ("review", label)
    assert (found["defect_type"], found["mask"]) == (defect_type, mask)


def test_a_defect_that_the_layout_calls_good_has_no_mask(tiny: Tiny, store) -> None:
    sha256 = catalog.read_images(tiny.home, "tiny")["sha256"][0].as_py()
    _layout_label(tiny, sha256, "ok", "", "")
    store.put("reviews", {"r": _verdict(sha256, defect_type="")})
    review(tiny.home, "tiny", store)
    found = catalog.read_labels(tiny.home, "tiny")[sha256]
    assert (found["defect_type"], found["mask"]) == ("defect", "")


def test_the_later_of_two_verdicts_wins_and_both_are_named(tiny: Tiny, store, caplog) -> None:
    sha256 = catalog.read_images(tiny.home, "tiny")["sha256"][0].as_py()
    later = _verdict(sha256, verdict="pass", by="Bo", at="2026-01-07T08:00:00+00:00")
    store.put("reviews", {"b": _verdict(sha256), "a": later})
    review(tiny.home, "tiny", store)
    assert catalog.read_labels(tiny.home, "tiny")[sha256]["label"] == "ok"
    assert f"{sha256[:16]} (Ada: fail, Bo: pass)" in caplog.text


def test_verdicts_that_agree_are_no_dispute(tiny: Tiny, store, caplog) -> None:
    sha256 = catalog.read_images(tiny.home, "tiny")["sha256"][0].as_py()
    store.put("reviews", {"b": _verdict(sha256), "a": _verdict(sha256, by="Bo")})
    review(tiny.home, "tiny", store)
    assert "differ" not in caplog.text


def test_a_verdict_on_a_quarantined_image_waits_and_says_so(tiny: Tiny, store, caplog) -> None:
    row = catalog.read_images(tiny.home, "tiny").slice(0, 1).to_pylist()[0]
    held = row | {"status": "quarantined", "reason": "contrast"}
    catalog.upsert_images(tiny.home, "tiny", pa.Table.from_pylist([held], schema=catalog.IMAGES))
    store.put("reviews", {"r": _verdict(row["sha256"])})
    assert review(tiny.home, "tiny", store).labels == 0
    assert "review r left out: its image is quarantined" in caplog.text
    catalog.upsert_images(tiny.home, "tiny", pa.Table.from_pylist([row], schema=catalog.IMAGES))
    assert review(tiny.home, "tiny", store).labels == 1


def test_a_verdict_on_a_part_with_another_parts_image_is_no_label_of_that(
    tiny: Tiny, store, caplog
) -> None:
    row = catalog.read_images(tiny.home, "tiny").slice(0, 1).to_pylist()[0]
    copied = {"object": "copy.png", "part": "other", "status": "duplicate"}
    copied["reason"] = f"{catalog.SAME_BYTES}{row['object']}"
    rows = pa.Table.from_pylist([row | copied], schema=catalog.IMAGES)
    catalog.upsert_images(tiny.home, "tiny", rows)
    store.put("reviews", {"copied": _verdict(row["sha256"], object="copy.png")})
    store.put("reviews", {"unsaid": _verdict(row["sha256"], at="2026-01-05")})
    assert review(tiny.home, "tiny", store).labels == 0
    assert f"copied left out: copy.png has the same bytes as {row['object']}\n" in caplog.text
    assert "unsaid left out: copy.png has the same bytes as" in caplog.text
    assert "it names no `object`" in caplog.text
    own = _verdict(row["sha256"], object=row["object"], verdict="pass", at="2026-01-04")
    store.put("reviews", {"own": own})
    assert review(tiny.home, "tiny", store).labels == 1
    assert catalog.read_labels(tiny.home, "tiny")[row["sha256"]]["label"] == "ok"


def test_firestore_needs_no_index_for_it(tiny: Tiny, monkeypatch, caplog) -> None:
    server = FirestoreServer()
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", server.address)
    try:
        store = FirestoreStore("demo")
        test_the_later_of_two_verdicts_wins_and_both_are_named(tiny, store, caplog)
    finally:
        server.stop()


def test_a_malformed_verdict_is_named_and_left_out(tiny: Tiny, store, caplog) -> None:
    store.put("reviews", {"odd": _verdict("not an image"), "anonymous": _verdict("x", by="")})
    with caplog.at_level(logging.WARNING):
        assert review(tiny.home, "tiny", store).labels == 0
    assert "review odd left out" in caplog.text


@pytest.mark.parametrize("said", ["ok", "Gut"])
def test_a_part_that_fails_for_being_good_is_named_and_becomes_no_label(
    tiny: Tiny, store, caplog, said
) -> None:
    sha256 = catalog.read_images(tiny.home, "tiny")["sha256"][0].as_py()
    store.put("reviews", {"odd": _verdict(sha256, defect_type=said)})
    assert review(tiny.home, "tiny", store, ("gut",)).labels == 0
    assert f"review odd left out: it fails the part for being '{said}'" in caplog.text
