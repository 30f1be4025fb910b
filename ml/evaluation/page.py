"""The template of the evaluation report."""

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ line.title }}: bundle {{ bundle.name[:8] }}</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;
color:#1a1a1a}
table{border-collapse:collapse;margin:1rem 0}
td,th{padding:.25rem .75rem;border-bottom:1px solid #ccc;text-align:left}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}
img{max-width:100%}
.warning{background:#fff3cd;border-left:4px solid #b8860b;padding:.5rem 1rem;margin:.5rem 0}
.pictures{display:flex;flex-wrap:wrap;gap:1.5rem}.pictures figure{margin:0}
.pictures img{margin-right:.25rem}figcaption{font-size:13px}
</style>
<h1>{{ line.title }}: bundle {{ bundle.name[:8] }}</h1>
<p>Bundle <code>{{ bundle.name }}</code>, dataset <code>{{ card.dataset }}</code>,
backbone {{ card.backbone.name }} (weights: {{ card.backbone.weights }}),
code <code>{{ card.code }}</code>,
seed {{ card.seed }}.</p>
{% for warning in card.warnings %}<p class="warning">
<strong>Warning.</strong> {{ warning }}</p>{% endfor %}
{% if line.source.spread %}<p class="warning">These images have no capture times: the days are made
up, whole groups are dealt over {{ line.source.spread.days }} days.</p>{% endif %}

<h2>Metrics on held-out test groups</h2>
<table><tr><th>model<th>metric<th class="number">value<th class="number">95 % interval
<th class="number">n (groups)</tr>
{% for model, name, metric in metrics %}<tr><td>{{ model }}<td>{{ name }}
<td class="number">{{ "%.4f"|format(metric.value) if metric.value is not none else "unknown" }}
<td class="number">{% if metric.low is not none %}
{{ "%.4f to %.4f"|format(metric.low, metric.high) }}
{% else %}too few groups{% endif %}<td class="number">{{ metric.n }}</tr>{% endfor %}</table>
<p>Intervals resample whole groups; one of zero width says that no resample saw an error, not that
there is none. Rank metrics use raw scores. F1 and F2 count an image as found from even odds on;
escape, overkill and review rate are at the line's thresholds. ECE is the expected calibration
error: how far a calibrated probability is from the share of defects, 0 at best.</p>

<h2>Verdicts</h2>
<p>p_defect up to {{ "%.4g"|format(card.thresholds.pass_below) }} passes, from
{{ "%.4g"|format(card.thresholds.fail_above) }} fails, between is reviewed; from the costs escape
{{ card.thresholds.escape_cost }}, overkill {{ card.thresholds.overkill_cost }}, review
{{ card.thresholds.review_cost }} (Chow's rule)
{%- if card.thresholds.ceiling %}, and what passes from a ceiling on escapes{% endif %}.</p>
{% if card.thresholds.ceiling %}{% set ceiling = card.thresholds.ceiling %}
<p>The ceiling is {{ "{:,.0f}".format(ceiling.max_escape_ppm) }} escapes of a million defective
groups. On validation {{ ceiling.escapes }} of {{ ceiling.groups }} independent defective groups
would pass, so with {{ "%.0f"|format(100 * ceiling.confidence) }} % confidence the rate is at most
{{ "{:,.0f}".format(ceiling.bound_ppm) }} of a million (Clopper and Pearson).</p>{% endif %}
<table><tr><th>share of images<th class="number">on validation, where the thresholds were chosen
<th class="number">on test</tr>
{% for name, metric in card.thresholds.rates.items() %}<tr><td>{{ name }}
{% for one in (metric, card.metrics["fused." ~ name]) %}<td class="number">
{% if one.value is none %}unknown{% else %}{{ "%.4f"|format(one.value) }}
{% if one.low is not none %}({{ "%.4f to %.4f"|format(one.low, one.high) }})
{% else %}(too few groups){% endif %}{% endif %}{% endfor %}</tr>{% endfor %}</table>
<table><tr><th>truth<th class="number">pass<th class="number">review<th class="number">fail
<th class="number">images</tr>
{% for row in confusion %}<tr><td>{{ row.truth }}<td class="number">{{ row["pass"] }}
<td class="number">{{ row.review }}<td class="number">{{ row.fail }}
<td class="number">{{ row.images }}</tr>{% endfor %}</table>

<h2>Curves</h2>
{% if curves %}<img src="{{ curves }}" alt="ROC and precision-recall curves of each model">
{% else %}<p>The test images are of one kind only: there are no curves.</p>{% endif %}
<h2>Scores</h2>
<img src="{{ histograms }}" alt="Histograms of each model's score, good and defect">

<h2>Calibration</h2>
{% if reliability %}<img src="{{ reliability }}" alt="Reliability diagram of each model">
<p>Test images in bins of equal size: a point on the diagonal means that of the images with this
probability just so many are defects. Bars are 95 % intervals over resampled groups.</p>
{% else %}<p>The test images are of one kind only: calibration cannot be measured.</p>{% endif %}

<h2>Slices</h2>
<table><tr><th>by<th>value<th class="number">good passed<th class="number">good reviewed
<th class="number">good failed<th class="number">defects passed<th class="number">defects reviewed
<th class="number">defects failed</tr>
{% for row in slices %}<tr><td>{{ row.field }}<td>{{ row.name }}
{% for side in (row.good, row.defect) %}<td class="number">{{ side["pass"] }}
<td class="number">{{ side.review }}<td class="number">{{ side.fail }}{% endfor %}</tr>
{% else %}<tr><td colspan="8">nothing to slice by</tr>{% endfor %}</table>

<h2>Worst errors</h2>
<p>The least suspected defects, then the most suspected good parts.</p>
<div class="pictures">{% for row in worst %}<figure>
{% for name, uri in row.pictures.items() %}<img src="{{ uri }}"
alt="{{ name }} of part {{ row.sample.part }}">
{% endfor %}<figcaption>{{ row.sample.part }}
{%- if row.sample.lot %}, lot {{ row.sample.lot }}{% endif %}:
{{ row.sample.defect_type or row.sample.label }}, verdict {{ row.decision.verdict }}, p_defect
{{ "%.3f"|format(row.decision.p_defect) if row.decision.p_defect is not none else "unknown" }}
{% if row.sample.is_defect and not row.sample.mask %}(no mask){% endif %}</figcaption>
</figure>{% endfor %}</div>

<h2>Models</h2>
<table><tr><th>model<th class="number">input<th class="number">weight<th class="number">parity
<th class="number">ms per image</tr>
{% for name, model in card.models.items() %}<tr><td>{{ name }}
<td class="number">{{ model.size[0] }} x {{ model.size[1] }}
<td class="number">{{ "%.3f"|format(model.fusion_weight) }}
<td class="number">{{ "%.1e"|format(model.parity) }} ({{ model.parity_images }} images)
<td class="number">{{ latency[name] }}</tr>{% endfor %}</table>
<p>Parity is the largest difference of a raw score between torch and ONNX Runtime. Times were
measured with one image on the machine that made this report.</p>
<h2>Data</h2>
<table>{% for name, count in card.dataset_counts.items() %}<tr><td>{{ name }}
<td class="number">{{ count }}</tr>{% endfor %}</table>
</html>
"""
