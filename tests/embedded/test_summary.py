"""The last screen of a demo, and the table of the real lines, say what was not tested."""

import pytest
import real_lines

from ml.embedded.summary import summary
from ml.results.sqlite import SQLiteStore
from ml.services.environment import Addresses
from ml.settings import Home, load_line

NOTE = "too few images: 13 of 30"


@pytest.fixture
def home(tmp_path):
    """A home with one night too small to test and one that was tested."""
    store = SQLiteStore(Home(tmp_path).results)
    windows = [("2026-01-08", kind, "none", NOTE) for kind in ("image", "embedding", "model")]
    windows += [("2026-01-09", "image", "alarm", ""), ("2026-01-09", "model", "none", "")]
    for day, kind, severity, note in windows:
        body = {"line": "demo", "day": day, "kind": kind, "severity": severity, "note": note}
        store.put("windows", {f"demo__{day}__{kind}": body})
    return tmp_path


def test_the_summary_tells_not_tested_from_no_drift(home, project):
    line = load_line(project / "lines" / "demo.toml")
    text = summary(Home(home), line, SQLiteStore(Home(home).results), Addresses("a", "d", "m"))
    assert f"drift     2026-01-08 image: not tested: {NOTE}" in text
    assert "2026-01-08 image: none" not in text
    assert "drift     2026-01-09 image: alarm" in text
    assert "drift     2026-01-09 model: none" in text


def test_the_table_of_the_real_lines_does_too(home, monkeypatch):
    monkeypatch.setattr(real_lines, "HOMES", home.parent)
    home.rename(home.parent / "demo")
    cells = real_lines.row("demo", 1.0).split(" | ")
    assert cells[-1] == f"2026-01-08 not tested ({NOTE}), image alarm |"
