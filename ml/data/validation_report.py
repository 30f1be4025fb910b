"""The pages of a line's validation: of one batch, and of all with the suite (`index.html`)."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import jinja2
import markupsafe

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
{% for one in batches %}<tr><td><a href="{{ one.batch }}.html">{{ one.batch }}</a>
<td>{{ one.first }}{% if one.last != one.first %} – {{ one.last }}{% endif %}
{% for status in ("accepted", "replaced", "duplicate", "quarantined", "dropped") %}
<td class="number">{{ one[status] }}{% endfor %}</tr>{% endfor %}</table>
{% if older %}<p>And {{ older }} older batches.</p>{% endif %}
</html>
"""

# A line that takes messages has thousands of batches a day.
SHOWN_BATCHES = 1000

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


def render_docs(
    line: LineConfig,
    suite: list[Expectation],
    counts: list[dict[str, Any]],
    batches: int,
    newest: list[dict[str, Any]],
) -> str:
    """HTML of a line's suite, of what it refused so far, and of its newest batches.

    Of `counts` (`catalog.count_reasons`), and how many `batches` there are and the `newest` of
    them (`catalog.count_batches`).
    """
    refused = Counter[str]()
    for row in counts:
        # What a good version took the place of is refused no more.
        is_dropped = row["status"] == "dropped" and row["reason"] not in SUPERSEDED
        if is_dropped or is_held(row):
            refused[row["reason"]] += row["n"]
    page = jinja2.Environment(autoescape=True).from_string(_DOCS)
    return page.render(
        line=line,
        suite=suite,
        refused=refused,
        others=sorted(set(refused) - {one.reason for one in suite}),
        batches=[one | _COUNTS | one["statuses"] for one in newest],
        older=batches - len(newest),
        style=markupsafe.Markup(_STYLE),
    )
