"""The page that says what a batch held and why images were quarantined."""

from typing import TYPE_CHECKING, Any

import jinja2

from ml.settings import LineConfig

if TYPE_CHECKING:
    from ml.data.validate import Outcome

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{ line.title }}: batch {{ outcome.batch }}</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0}
td,th{padding:.25rem .75rem;border-bottom:1px solid #ccc;text-align:left}
td.number{text-align:right}
</style>
<h1>{{ line.title }}: batch {{ outcome.batch }}</h1>
<p>{{ outcome.listed }} listed = {{ outcome.accepted }} accepted
+ {{ outcome.quarantined }} quarantined + {{ outcome.duplicate }} duplicate.
Days: {{ outcome.days | join(", ") or "none" }}.</p>
<h2>Expectations</h2>
<table><tr><th>reason<th>expectation<th>failed</tr>
{% for result in results %}<tr><td>{{ result.expectation.reason }}
<td>{{ result.expectation.kind }}({{ result.expectation.arguments }})
<td class="number">{{ result.failed }}</tr>{% endfor %}</table>
<h2>Not accepted</h2>
<table><tr><th>object<th>status<th>reason</tr>
{% for row in refused %}<tr><td>{{ row.object }}<td>{{ row.status }}<td>{{ row.reason }}</tr>
{% else %}<tr><td colspan="3">none</tr>{% endfor %}</table>
</html>
"""


def render_report(
    line: LineConfig,
    outcome: "Outcome",
    results: list[dict[str, Any]],
    rows: list[dict[str, Any]],
) -> str:
    """HTML of one batch."""
    page = jinja2.Environment(autoescape=True).from_string(_PAGE)
    refused = [row for row in rows if row["status"] != "accepted"]
    return page.render(line=line, outcome=outcome, results=results, refused=refused)
