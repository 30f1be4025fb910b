"""Names become labels, masks, groups, serials and times."""

from datetime import UTC, datetime
from unicodedata import normalize
from zoneinfo import ZoneInfo

import pytest

from ml.data.layout import describe, unrecognised
from ml.data.source import open_source
from ml.data.spread import deal_days
from ml.errors import SourceError
from ml.settings import load_line
from ml.settings.source import SpreadConfig
from tests.data.conftest import make_line


def _describe(keys, read=lambda key: b"", **layout):
    return describe(make_line(**layout).source.layout, keys, read)


def test_mvtec_folders_give_label_type_and_mask():
    keys = {"train/good/1.png", "test/crack/2.png", "ground_truth/crack/2_mask.png", "readme.txt"}
    facts = _describe(keys, kind="mvtec")
    assert set(facts) == {"train/good/1.png", "test/crack/2.png"}
    assert facts["train/good/1.png"].label == "ok"
    bad = facts["test/crack/2.png"]
    assert (bad.defect_type, bad.mask_key) == ("crack", "ground_truth/crack/2_mask.png")


@pytest.mark.parametrize("name", ["ok", "OK", "Ok", "GOOD", "Good"])
def test_a_good_part_is_good_in_whatever_case(name):
    (facts,) = _describe({f"{name}/1.png"}).values()
    assert (facts.label, facts.defect_type) == ("ok", "")
    manifest = f"path,kind\n1.png,{name} \n".encode()
    layout = {"kind": "manifest", "manifest": "m.csv", "columns": {"label": "kind"}}
    facts = _describe({"1.png", "m.csv"}, lambda key: manifest, **layout)["1.png"]
    assert (facts.label, facts.defect_type) == ("ok", "")


def test_names_of_good_parts_are_compared_in_whatever_case_too():
    (facts,) = _describe({"pass/1.png"}, ok=["PASS"]).values()
    assert facts.label == "ok"


def test_ok_is_never_a_defect_type():
    with pytest.raises(SourceError, match=r"Ok/1\.png: 'Ok' is none of `source\.layout\.ok`"):
        _describe({"Ok/1.png"}, ok=["pass"])


def test_a_pattern_gives_part_camera_and_time():
    pattern = r"(?P<part>\d+)_(?P<camera>\w+)_(?P<captured_at>\d{8}T\d{6})"
    facts = _describe({"ok/17_top_20260105T081500.png"}, pattern=pattern)
    found = facts["ok/17_top_20260105T081500.png"]
    assert (found.part, found.group, found.camera) == ("17", "17", "top")
    assert found.captured_at == datetime(2026, 1, 5, 8, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stamp", "hour"),
    [
        ("20260105T081500", 16),
        ("20260705T081500", 15),
        ("20261101T013000", 8),  # shown twice that night: the first, in daylight saving time
        ("20260105T081500Z", 8),
    ],
)
def test_a_stamp_without_a_zone_is_local_and_one_with_a_zone_is_not(stamp, hour):
    layout = make_line(pattern=r"_(?P<captured_at>\w+)").source.layout
    key = f"ok/17_{stamp}.png"
    facts = describe(layout, {key}, lambda key: b"", zone=ZoneInfo("America/Los_Angeles"))
    found = facts[key].captured_at
    assert found.tzinfo is UTC
    assert found.hour == hour


def test_a_pattern_that_matches_nothing_is_named():
    with pytest.raises(SourceError, match=r"matches none of 2 images, such as ok/1\.png"):
        _describe({"ok/1.png", "ok/2.png"}, pattern=r"part(?P<part>\d+)")


def test_names_that_the_pattern_does_not_match_are_counted_and_named(caplog):
    odd = {f"ok/odd{number:02d}.png" for number in range(12)}
    assert len(_describe({"ok/7_1.png", "ok/7_2.png", *odd}, pattern=r"(?P<group>\d+)_")) == 14
    assert "12 of 14 images do not match `source.layout.pattern`: ok/odd00.png" in caplog.text
    assert "ok/odd09.png, …" in caplog.text
    assert "ok/odd10.png" not in caplog.text


def test_a_manifest_column_wins_over_the_pattern():
    manifest = b"path,tile\nok/1.png,seven\n"
    facts = _describe(
        {"ok/1.png", "m.csv"}, lambda key: manifest, manifest="m.csv", columns={"group": "tile"}
    )
    assert facts["ok/1.png"].group == "seven"


def test_a_manifest_without_the_column_names_it():
    with pytest.raises(SourceError, match=r"m\.csv: no column \['tile'\]"):
        _describe({"m.csv"}, lambda key: b"path\n", manifest="m.csv", columns={"group": "tile"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,tile\nok/1.png,Fl\xe4che\n".encode("latin-1"), r"m\.csv: not UTF-8 text"),
        (b'path,tile\nok/1.png,"seven\n', r"m\.csv: not a CSV"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_named(content, message):
    with pytest.raises(SourceError, match=message):
        _describe(
            {"ok/1.png", "m.csv"}, lambda key: content, manifest="m.csv", columns={"group": "tile"}
        )


def test_a_row_with_more_values_than_columns_is_an_error():
    rows = b"1.png,ok,seen,,\n2.png,ok\n"
    assert set(_manifest_of(rows, {"1.png", "2.png"})) == {"1.png", "2.png"}
    with pytest.raises(SourceError, match=r"m\.csv: the row of 'a' has more values than there are"):
        _manifest_of(b"a,b.png,ok,seen\n", {"a,b.png"})


def test_a_row_that_ends_before_its_path_is_of_no_image(caplog):
    layout = {"kind": "manifest", "manifest": "m.csv", "columns": {"label": "kind"}}
    content = b"kind,path\nok,1.png\nok\n"
    facts = _describe({"1.png", "2.png", "m.csv"}, lambda key: content, **layout)
    assert set(facts) == {"1.png"}
    assert "m.csv: 1 of its 2 paths are not in the source" in caplog.text


@pytest.mark.parametrize(("listed", "written"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_a_row_is_of_the_image_whose_name_is_the_same_text(listed, written, caplog):
    image, mask = (normalize(listed, name) for name in ("teile/gehäuse.png", "masken/gehäuse.png"))
    row = normalize(written, "teile/gehäuse.png,masken/gehäuse.png")
    layout = {"kind": "manifest", "manifest": "m.csv", "columns": {"mask": "mask"}}
    content = f"path,mask\n{row}\n".encode()
    facts = _describe({image, mask, "m.csv"}, lambda key: content, **layout)
    assert {key: fact.mask_key for key, fact in facts.items()} == {image: mask}
    assert not caplog.messages


def test_of_two_names_that_are_the_same_text_each_has_its_own_row():
    names = [normalize(form, "gehäuse.png") for form in ("NFC", "NFD")]
    rows = f"{names[0]},ok,\n{names[1]},dent,\n".encode()
    assert {key: fact.label for key, fact in _manifest_of(rows, set(names)).items()} == {
        names[0]: "ok",
        names[1]: "defect",
    }


def test_a_missing_manifest_is_named():
    with pytest.raises(SourceError, match=r"the source has no m\.csv"):
        _describe({"ok/1.png"}, manifest="m.csv", columns={"group": "tile"})


def _manifest_of(rows, keys):
    content = b"path,kind,note\n" + rows
    layout = {"kind": "manifest", "manifest": "m.csv", "columns": {"label": "kind"}}
    return _describe({*keys, "m.csv"}, lambda key: content, **layout)


@pytest.mark.parametrize("rows", [b"1.png,crack\n1.png,ok\n", b"1.png,ok\n1.png,crack\n"])
def test_rows_that_contradict_each_other_label_nothing(rows, caplog):
    facts = _manifest_of(rows + b"2.png,ok\n", {"1.png", "2.png"})
    assert (facts["1.png"].label, facts["1.png"].problem) == ("", "label_conflict")
    assert (facts["2.png"].label, facts["2.png"].problem) == ("ok", "")
    assert "m.csv: 1 paths have rows that differ, and their images are held: 1.png" in caplog.text


def test_a_row_may_be_repeated_where_what_is_read_of_it_agrees():
    facts = _manifest_of(b"1.png,crack,seen\n1.png,crack,seen again\n", {"1.png"})
    assert (facts["1.png"].defect_type, facts["1.png"].problem) == ("crack", "")


def test_rows_without_a_file_are_counted_and_named(caplog):
    rows = b"".join(b"gone%02d.png,ok\n" % number for number in range(12))
    assert set(_manifest_of(b"1.png,ok\n" + rows, {"1.png"})) == {"1.png"}
    assert "m.csv: 12 of its 13 paths are not in the source: gone00.png" in caplog.text
    assert "gone09.png, …" in caplog.text
    assert "gone10.png" not in caplog.text


@pytest.mark.parametrize("time", ["late", "20260230T081500", "19700101T000000"])
def test_a_wrong_time_is_a_problem_of_its_image_alone(time, caplog):
    facts = _describe(
        {f"ok/{time}.png", "ok/20260105T081500.png"}, pattern=r"ok/(?P<captured_at>\w+)"
    )
    assert [one.problem for one in facts.values()].count("bad_time") == 1
    assert facts[f"ok/{time}.png"].captured_at is None
    assert f"ok/{time}.png: '{time}' is no capture time" in caplog.text


def test_a_time_beyond_the_calendar_is_a_problem_too():
    facts = _describe(
        {"m.csv", "ok/1.png"},
        lambda key: b"path,at\nok/1.png,0001-01-01T00:00:00+05:00\n",
        manifest="m.csv",
        columns={"captured_at": "at"},
    )
    assert facts["ok/1.png"].problem == "bad_time"


@pytest.mark.parametrize(
    ("layout", "keys", "expected"),
    [
        ({"kind": "class_folders", "days": "%Y/%m/%d/"}, ["2026/01/05/a.png"], []),
        (
            {"kind": "class_folders", "days": "%Y/%m/%d/"},
            ["05-01-2026/a.PNG"],
            ["05-01-2026/a.PNG"],
        ),
        ({"kind": "class_folders"}, ["a.jpg", "read.me", "ok/1.png"], ["a.jpg"]),
        ({"kind": "masks"}, ["images/1.png", "masks/1.png", "masks/2.png"], []),
        ({"kind": "mvtec"}, ["train/good/1.png", "ground_truth/bad/9_mask.png"], []),
        ({"kind": "mvtec"}, ["valid/good/1.png"], ["valid/good/1.png"]),
    ],
)
def test_images_in_the_wrong_place_are_found(layout, keys, expected):
    config = make_line(**layout).source.layout
    assert unrecognised(config, keys, describe(config, keys, lambda key: b"")) == expected


def test_groups_are_dealt_whole_over_the_days():
    keys = {f"ok/{group}_{n}.png" for group in range(20) for n in range(3)}
    facts = _describe(keys, pattern=r"(?P<group>\d+)_").values()
    days = deal_days(SpreadConfig(days=5, start="2026-01-05"), facts)
    for group in range(20):
        assert len({days[f"ok/{group}_{n}.png"] for n in range(3)}) == 1
    assert len(set(days.values())) == 5


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "images", "groups"),
    [("magnetic_tile", 783, 139), ("casting", 1382, 139), ("kolektor_sdd", 124, 24)],
)
def test_the_real_sets_are_read_whole(project, real_data, name, images, groups):
    line = load_line(project / "lines" / f"{name}.toml")
    source = open_source(str(project / line.source.uri))
    facts = describe(line.source.layout, {item.key for item in source.list()}, source.read)
    assert len(facts) == images
    assert len({one.group for one in facts.values()}) == groups
    defects = sum(one.label == "defect" for one in facts.values())
    assert 0 < defects < images
