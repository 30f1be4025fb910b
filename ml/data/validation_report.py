"""The pages of a line's validation: of one batch, and of all with the suite (`index.html`)."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import jinja2
import markupsafe
import pyarrow as pa

from ml.data.decide import SUPERSEDED, is_held
from ml.data.suite import Expectation
from ml.settings import LineConfig

if TYPE_CHECKING:
    from ml.data.validate import Outcome

_STYLE = """<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0}
td,th{padding:.25rem .75rem;border-bottom:1px solid #ccc;text-align:left}
td.number{text-align:right}
</style>"""

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{ line.title }}: batch {{ outcome.batch }}</title>
{{ style }}
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


_DOCS = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{ line.title }}: validation</title>
{{ style }}
<h1>{{ line.title }}: validation</h1>
<h2>Suite</h2>
<p>Every image must meet these; the first that it fails is why it is quarantined.</p>
<table><tr><th>reason<th>expectation<th>refused so far</tr>
{% for one in suite %}<tr><td>{{ one.reason }}<td>{{ one.kind }}({{ one.arguments }})
<td class="number">{{ refused[one.reason] }}</tr>{% endfor %}
{% for reason in others %}<tr><td>{{ reason }}<td>undecodable, or a wrong label or mask
<td class="number">{{ refused[reason] }}</tr>{% endfor %}</table>
<h2>Batches</h2>
<table><tr><th>batch<th>days<th>accepted<th>replaced since<th>duplicate<th>quarantined
<th>dropped</tr>
{% for one in batches %}<tr><td><a href="{{ one.name }}.html">{{ one.name }}</a>
<td>{{ one.days | min }}{% if one.days | length > 1 %} – {{ one.days | max }}{% endif %}
{% for status in ("accepted", "replaced", "duplicate", "quarantined", "dropped") %}
<td class="number">{{ one[status] }}{% endfor %}</tr>{% endfor %}</table>
</html>
"""

_COUNTS = dict.fromkeys(("accepted", "replaced", "duplicate", "quarantined", "dropped"), 0)


def render_report(
    line: LineConfig,
    outcome: "Outcome",
    results: list[dict[str, Any]],
    rows: list[dict[str, Any]],
) -> str:
    """HTML of one batch."""
    page = jinja2.Environment(autoescape=True).from_string(_PAGE)
    refused = [row for row in rows if row["status"] != "accepted"]
    style = markupsafe.Markup(_STYLE)
    return page.render(line=line, outcome=outcome, results=results, refused=refused, style=style)


def render_docs(line: LineConfig, suite: list[Expectation], images: pa.Table) -> str:
    """HTML of a line's suite, of what it refused so far, and of its batches, the newest day first.

    `images` are those of the catalog.
    """
    refused = Counter[str]()
    for row in images.group_by(["status", "reason"]).aggregate([([], "count_all")]).to_pylist():
        # What a good version took the place of is refused no more.
        is_dropped = row["status"] == "dropped" and row["reason"] not in SUPERSEDED
        if is_dropped or is_held(row):
            refused[row["reason"]] += row["count_all"]
    page = jinja2.Environment(autoescape=True).from_string(_DOCS)
    return page.render(
        line=line,
        suite=suite,
        refused=refused,
        others=sorted(set(refused) - {one.reason for one in suite}),
        batches=_batches(images),
        style=markupsafe.Markup(_STYLE),
    )


def _batches(images: pa.Table) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    counted = images.group_by(["batch", "day", "status"]).aggregate([([], "count_all")])
    for row in counted.to_pylist():
        one = found.setdefault(row["batch"], {"name": row["batch"], "days": set(), **_COUNTS})
        one["days"].add(row["day"])
        one[row["status"]] += row["count_all"]
    return sorted(found.values(), key=lambda one: (max(one["days"]), one["name"]), reverse=True)
