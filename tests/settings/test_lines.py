"""A wrong line file names the file, the key, and what was expected; a right one is typed."""

import re

import pytest

from ml.errors import SettingsError
from ml.settings import Env, load_line, load_lines
from ml.settings.env import cores
from ml.settings.line import LineConfig
from ml.settings.source import LayoutConfig

GOOD = """
name = "housing"
title = "Housing"
[source]
uri = "s3://plant/housing"
[source.layout]
kind = "class_folders"
"""


def _line(tmp_path, text):
    path = tmp_path / "housing.toml"
    path.write_text(text)
    return path


def test_a_small_line_file_has_defaults_for_the_rest(tmp_path):
    line = load_line(_line(tmp_path, GOOD))
    assert line.models == ("classifier", "segmenter", "anomaly")
    assert line.costs.escape > line.costs.overkill > line.costs.review


@pytest.mark.parametrize("zone", ["America", "Mars/Olympus", "../UTC", "", "PST/"])
def test_an_unknown_time_zone_is_refused_by_name(tmp_path, zone):
    text = GOOD.replace("[source]\n", f'[source]\ntimezone = "{zone}"\n')
    with pytest.raises(SettingsError, match=rf"`source.timezone` is '{re.escape(zone)}': .*IANA"):
        load_line(_line(tmp_path, text))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('colour = "red"', "unknown key `source.layout.colour`"),
        ('pattern = "("', "`source.layout.pattern` is '\\(': .*not a regular expression"),
        (
            "mask_threshold = 999",
            "`source.layout.mask_threshold` is 999: .*less than or equal to 254",
        ),
        ('columns = { group = "g" }', "`manifest` must name the CSV file"),
        (
            'manifest = "m.csv"\ncolumns = { mask = "mask" }',
            '`columns.mask` needs `kind = "manifest"`; `class_folders` reads no mask there',
        ),
        ("[split]\ntest = 2", "`split.test` is 2: .*less than 0.6"),
        ("[monitor]\nalpha = 1e-4", "`monitor.alpha` is 0.0001: .*greater than or equal to 0.001"),
        ("[costs]\nreview = 1000", "`review` must cost less"),
        ("[costs]\nmax_escape_ppm = 0", "`costs.max_escape_ppm` is 0: .*greater than 0"),
        ("[backbone", "not valid TOML"),
        (
            "pattern = '(?P<prt>x)'",
            r"`source.layout.pattern` is .*named groups \['prt'\]; expected some of .*'part'",
        ),
        ("pattern = 'x'", r"named groups \[\]; expected some of"),
        ("[classifier]\nsize = [0, -3]", r"`classifier.size.0` is 0: .*greater than or equal to 1"),
        ("[classifier]\nsize = [9, 8]\nsymmetric = true", "`symmetric` .*must be square"),
        ("[classifier]\nturns = 4", "`turns` .*for `symmetric` parts"),
        ("[classifier]\nturns = 3", "`classifier.turns` is 3"),
        (
            '[classifier]\nfrozen_stride = 8\n[backbone]\nweights = "none"',
            "`classifier.frozen_stride` keeps pretrained layers",
        ),
        ("[checks]\nsizes = [[0, 5]]", r"`checks.sizes.0.0` is 0: .*greater than or equal to 1"),
        (
            "[checks]\nbrightness = [250, 3]",
            r"`checks.brightness` is \[250, 3\]: .*the lowest and the highest mean grey level",
        ),
        (
            "[split]\nvalidation = 0.49\ntest = 0.59",
            "`validation` and `test` are 1.08 together; expected at most 0.9",
        ),
        ("[anomaly]\nstrides = []", "`anomaly.strides` is .*at least 1 item"),
        ('[night]\nschedule = "at noon"', "`night.schedule` is 'at noon': .*five fields"),
        ('[night]\nschedule = "0 25 * * *"', "`night.schedule` .*hour '25': expected .*0-23"),
    ],
)
def test_a_wrong_value_names_file_key_and_what_was_expected(tmp_path, change, message):
    path = _line(tmp_path, GOOD + change + "\n")
    with pytest.raises(SettingsError, match=message) as raised:
        load_line(path)
    assert str(path) in str(raised.value)


def test_keys_that_conflict_are_named_without_all_others(tmp_path):
    path = _line(tmp_path, GOOD + "[classifier]\nturns = 4\nepochs = 3\n")
    with pytest.raises(SettingsError) as raised:
        load_line(path)
    said = str(raised.value)
    assert said.startswith(f"{path}: `classifier`: `turns` takes the mean")
    assert "epochs" not in said


@pytest.mark.parametrize("schedule", ["*/15 6-22 * * 1-5", "0 2 1,15 jan-MAR sun", "@daily"])
def test_a_cron_expression_is_a_schedule(tmp_path, schedule):
    line = load_line(_line(tmp_path, GOOD + f'[night]\nschedule = "{schedule}"\n'))
    assert line.night.schedule == schedule


@pytest.mark.parametrize(
    "schedule", ["* * * *", "* * * * * *", "60 * * * *", "*/0 * * * *", "* * 0 * *", "* * * foo *"]
)
def test_what_is_no_cron_expression_is_refused(tmp_path, schedule):
    text = f'ingest_schedule = "{schedule}"\n' + GOOD
    with pytest.raises(SettingsError, match="`ingest_schedule` is"):
        load_line(_line(tmp_path, text))


def test_a_line_file_that_is_not_utf_8_is_named(tmp_path):
    path = tmp_path / "housing.toml"
    path.write_bytes(GOOD.replace("Housing", "Geh\xe4use").encode("latin-1"))
    with pytest.raises(SettingsError, match=r"housing\.toml: not UTF-8 text"):
        load_line(path)


def test_a_missing_key_is_named(tmp_path):
    with pytest.raises(SettingsError, match="`title` is missing"):
        load_line(_line(tmp_path, GOOD.replace('title = "Housing"', "")))


def test_a_file_under_another_name_is_refused(tmp_path):
    path = tmp_path / "other.toml"
    path.write_text(GOOD)
    with pytest.raises(SettingsError, match="expected 'other', like the file"):
        load_line(path)


def test_every_shipped_line_is_right(project):
    names = [load_line(path).name for path in load_lines(project / "lines").values()]
    assert names == ["casting", "demo", "kolektor_sdd", "magnetic_tile"]


def test_the_readme_names_every_key(project):
    readme = (project / "README.md").read_text().splitlines()
    rows = {row.split("|")[1].strip(" `"): row for row in readme if row.startswith("|")}
    tables = {
        "top": LineConfig,
        "source.layout": LayoutConfig,
        **{name: field.annotation for name, field in LineConfig.model_fields.items()},
    }
    missing = [
        f"{table}.{key}"
        for table, section in tables.items()
        for key, field in getattr(section, "model_fields", {}).items()
        if not hasattr(field.annotation, "model_fields") and f"`{key}`" not in rows.get(table, "")
    ]
    assert not missing


@pytest.mark.parametrize(
    "environ", [{"LOUPE_RESULTS": "mongo"}, {"LOUPE_THREADS": "many"}], ids=["results", "threads"]
)
def test_a_wrong_variable_is_named(environ):
    name = next(iter(environ))
    with pytest.raises(SettingsError, match=f"{name} is '{environ[name]}'; expected"):
        Env.read(environ)


@pytest.mark.parametrize("module", ["ml/settings/env.py", "serving/settings.py"])
def test_the_readme_names_every_variable(project, module):
    variables = set(re.findall(r"LOUPE_[A-Z_]+", (project / module).read_text()))
    text = (project / "README.md").read_text()
    assert not {name for name in variables if f"`{name}`" not in text}
    assert variables


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1), ("max 100000", 8), (None, 8)],
)
def test_threads_are_the_cores_that_a_container_may_use(tmp_path, monkeypatch, limit, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    if limit is not None:
        (tmp_path / "cpu.max").write_text(limit + "\n")
    assert cores(tmp_path) == expected


def test_the_affinity_of_a_process_counts_under_a_larger_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3})
    (tmp_path / "cpu.max").write_text("800000 100000\n")
    assert cores(tmp_path) == 1
