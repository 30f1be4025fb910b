"""A bench's row takes the place of its older one, and nothing else of RESULTS.md changes."""

import pytest
import result_tables

PAGE = """# Results
<!-- speed -->
| line | model | images/s |
| --- | --- | --- |
| a | one | 1 |
| a | two | 2 |
<!-- end of speed -->
Text.
<!-- other -->
| a | one | 1 |
<!-- end -->
"""


@pytest.fixture
def page(tmp_path, monkeypatch):
    path = tmp_path / "RESULTS.md"
    path.write_text(PAGE)
    monkeypatch.setattr(result_tables, "RESULTS", path)
    return path


def test_a_row_replaces_the_one_with_the_same_first_cells_or_comes_last(page):
    result_tables.put("speed", "| a | one | 3 |", key=2)
    assert page.read_text() == PAGE.replace("| a | one | 1 |", "| a | one | 3 |", 1)
    result_tables.put("other", "| b | one | 4 |")
    assert page.read_text().endswith("| a | one | 1 |\n| b | one | 4 |\n<!-- end -->\n")


def test_a_whole_table_is_replaced(page):
    result_tables.write("speed", "| none |\n", page)
    head, text = page.read_text().split("<!-- end of speed -->")
    assert head == "# Results\n<!-- speed -->\n| none |\n"
    assert text == PAGE.split("<!-- end of speed -->")[1]


def test_a_table_that_is_not_there_is_named(page):
    with pytest.raises(SystemExit, match="<!-- gone -->"):
        result_tables.put("gone", "| a |")
    assert page.read_text() == PAGE
