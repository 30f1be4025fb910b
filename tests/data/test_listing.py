"""Listing only the days since the last full listing finds all that listing in full would."""

from datetime import UTC, datetime, timedelta

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.data import catalog, ingest
from ml.data.layout import describe
from ml.data.listing import Watermark, read_mark, scope_of, write_mark
from ml.data.source import BucketSource, FolderSource, open_source
from ml.data.validate import validate
from ml.errors import DataError, SourceChangedError, SourceError
from tests.data.conftest import Plant, make_line

DAYS = "%Y/%m/%d/"
START = datetime(2026, 3, 10, 6, tzinfo=UTC)
LINE = make_line(days=DAYS)


@pytest.fixture
def clock(monkeypatch):
    """Sets the time of the next ingest."""

    def at(hours: float) -> None:
        monkeypatch.setattr(ingest, "utc_now", lambda: START + timedelta(hours=hours))

    at(0)
    return at


def _run(plant: Plant, mark: Watermark | None):
    found = ingest.ingest(
        plant.home, plant.line, source=str(plant.source), until=None, threads=1, mark=mark
    )
    if found.name:
        validate(plant.home, plant.line, found.name)
    return found


def _known(plant: Plant) -> set[str]:
    return set(catalog.read_images(plant.home, "plant", status=None)["object"].to_pylist())


def test_late_objects_are_found_by_the_next_full_listing_and_all_others_at_once(
    plant, clock, tmp_path
):
    plant.source = tmp_path / "days"
    plant.line = LINE
    plant.picture("2026/03/01/ok/a.png", 1)
    plant.picture("2026/03/10/b.png", 2)
    first = _run(plant, None)
    assert (first.listed, first.new) == (2, 2)
    clock(2)
    plant.picture("2026/03/10/ok/c.png", 3)
    plant.picture("2026/03/11/ok/ahead.png", 4)
    plant.picture("2026/03/02/ok/late.png", 5)
    second = _run(plant, first.mark)
    assert (second.listed, second.new, second.mark) == (3, 2, first.mark)
    clock(23)
    assert _run(plant, second.mark).new == 0
    clock(24)
    third = _run(plant, second.mark)
    assert (third.listed, third.new) == (5, 1)
    assert third.mark != second.mark
    assert len(_known(plant)) == 5
    clock(23)  # set back: the watermark lies in the future and proves nothing
    assert _run(plant, third.mark).listed == 5


def test_what_was_held_or_left_for_later_does_not_move_the_watermark(plant, clock, monkeypatch):
    for seed in range(3):
        plant.picture(f"2026/03/0{seed + 1}/ok/{seed}.png", seed)
    source = str(plant.source)
    fetch = FolderSource.fetch

    def half(place, item):
        if item.key.endswith("1.png"):
            raise SourceChangedError(item.key)
        return fetch(place, item)

    with monkeypatch.context() as patch:
        patch.setattr(FolderSource, "fetch", half)
        held = ingest.ingest(plant.home, LINE, source=source, until=None, threads=1)
    assert (held.new, held.held, held.mark) == (2, 1, None)
    early = ingest.ingest(plant.home, LINE, source=source, until="2026-01-01", threads=1)
    assert (early.listed, early.mark) == (0, None)


class Arrival:
    """An object that comes at some hour into the folder of some day."""

    def __init__(self, hour: float, days_late: int) -> None:
        self.hour = hour
        day = START + timedelta(hours=hour) - timedelta(days=days_late)
        self.folder = day.strftime(DAYS)


arrivals = st.builds(Arrival, st.floats(0, 100), st.integers(-1, 40))


@settings(deadline=None)
@given(st.lists(arrivals, max_size=12), st.lists(st.floats(0, 130), min_size=1, max_size=12))
def test_nothing_is_lost_whatever_comes_when(objects, hours):
    mark, seen = None, set()
    for hour in [*sorted(hours), max(hours) + 24]:
        scope = scope_of(LINE, "s3://plant", mark, START + timedelta(hours=hour))
        there = {one for one in objects if one.hour <= hour}
        listed = {one for one in there if scope.prefixes is None or one.folder in scope.prefixes}
        in_time = {one for one in there if one.folder >= _day(one.hour - 24)}
        assert in_time <= seen | listed
        seen, mark = seen | listed, scope.mark
    assert seen == {one for one in objects if one.hour <= max(hours) + 24}


def _day(hour: float) -> str:
    return (START + timedelta(hours=hour)).strftime(DAYS)


@pytest.mark.parametrize("change", ["source", "days", "none"])
def test_another_source_or_layout_is_listed_in_full(change):
    mark = Watermark("s3://plant", DAYS, START.isoformat())
    line = make_line(days="%Y-%m-%d/") if change == "days" else LINE
    source = "s3://other" if change == "source" else "s3://plant"
    if change == "none":
        line = make_line()
    assert scope_of(line, source, mark, START).prefixes is None


def test_a_state_that_is_none_is_refused():
    for text in ("{", '{"source": 1}', '{"source": "a", "days": "", "full_at": "today"}'):
        with pytest.raises(DataError, match="not a watermark"):
            Watermark.from_json(text)
    assert Watermark.from_json("{}") is None


def test_a_watermark_without_a_zone_is_taken_as_utc():
    text = '{"source": "s3://plant", "days": "%Y/%m/%d/", "full_at": "2026-03-10T06:00:00"}'
    mark = Watermark.from_json(text)
    assert mark == Watermark("s3://plant", DAYS, START.isoformat())
    assert scope_of(LINE, "s3://plant", mark, START + timedelta(hours=1)).prefixes is not None


def test_a_damaged_watermark_of_the_home_is_named_with_its_file(plant):
    path = plant.home.watermark("plant")
    write_mark(plant.home, "plant", Watermark("s3://plant", DAYS, START.isoformat()))
    assert read_mark(plant.home, "plant") == Watermark("s3://plant", DAYS, START.isoformat())
    path.write_bytes(b"\xff{")
    with pytest.raises(DataError, match=rf"{path}: not a watermark .*; remove the file"):
        read_mark(plant.home, "plant")


def test_labels_follow_the_folder_of_the_day():
    keys = ["2026/03/01/ok/a.png", "2026/03/01/pit/b.png", "2026/03/01/c.png", "other/d.png"]
    facts = describe(LINE.source.layout, keys, lambda key: b"")
    assert {key: (fact.label, fact.defect_type) for key, fact in facts.items()} == {
        keys[0]: ("ok", ""),
        keys[1]: ("defect", "pit"),
        keys[2]: ("", ""),
    }


@pytest.mark.usefixtures("aws")
def test_a_bucket_is_asked_for_the_days_only():
    client = boto3.client("s3")
    client.create_bucket(Bucket="days")
    for day in range(1, 29):
        client.put_object(Bucket="days", Key=f"line/2026/02/{day:02d}/ok/a.png", Body=b"x")
    asked = []
    place = open_source("s3://days/line")
    assert isinstance(place, BucketSource)
    place._client.meta.events.register(
        "before-call.s3.ListObjectsV2", lambda params, **_: asked.append(params["url_path"])
    )
    keys = [item.key for item in place.list(["2026/02/10/", "2026/02/11/", "2026/03/01/"])]
    assert keys == ["2026/02/10/ok/a.png", "2026/02/11/ok/a.png"]
    assert len(asked) == 3


def test_a_day_of_odd_names_alone_stops_no_incremental_listing(plant, clock, tmp_path):
    plant.source = tmp_path / "days"
    plant.line = make_line(days=DAYS, pattern=r"part(?P<part>\d+)")
    plant.picture("2026/03/01/ok/part1.png", 1)
    first = _run(plant, None)
    clock(2)
    assert _run(plant, first.mark).listed == 0
    plant.picture("2026/03/10/ok/light-check.png", 2)
    assert _run(plant, first.mark).new == 1
    plant.line = make_line(days=DAYS, pattern=r"piece(?P<part>\d+)")
    plant.picture("2026/03/10/ok/part3.png", 3)
    with pytest.raises(SourceError, match="matches none of 3 images"):
        _run(plant, first.mark)
