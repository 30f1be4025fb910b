"""A person's verdict becomes a label with a name and a time, once, and wins over the layout's."""

import logging

import pytest
from tiny_line import Tiny

from ml.data import catalog
from ml.results import open_results
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


def test_the_later_of_two_verdicts_wins(tiny: Tiny, store) -> None:
    sha256 = catalog.read_images(tiny.home, "tiny")["sha256"][0].as_py()
    later = _verdict(sha256, verdict="pass", by="Bo", at="2026-01-07T08:00:00+00:00")
    store.put("reviews", {"b": _verdict(sha256), "a": later})
    review(tiny.home, "tiny", store)
    assert catalog.read_labels(tiny.home, "tiny")[sha256]["label"] == "ok"


def test_a_malformed_verdict_is_named_and_left_out(tiny: Tiny, store, caplog) -> None:
    store.put("reviews", {"odd": _verdict("not an image"), "anonymous": _verdict("x", by="")})
    with caplog.at_level(logging.WARNING):
        assert review(tiny.home, "tiny", store).labels == 0
    assert "review odd left out" in caplog.text
