"""The template of the evaluation report, and the words for its metrics."""

WORDS = {
    "escape": "escapes: defective images passed",
    "overkill": "overkill: good images failed",
    "review_rate": "held for review",
    "auroc": "AUROC",
    "ap": "average precision",
    "f1": "F1",
    "f2": "F2",
    "escaped_groups": "defective groups of which an image passed",
    "type_accuracy": "defect type right, of defects failed",
    "ece": "calibration error (ECE)",
    "missed": "defects not marked at all",
    "false_region": "good images marked",
    "dice": "Dice, mean of defects",
    "dice_macro": "Dice, mean of defect types",
    "dice_pooled": "Dice, all pixels together",
    "iou": "IoU, mean of defects",
    "iou_pooled": "IoU, all pixels together",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO, up to 30 % false pixels",
    "pointing": "hottest pixel in the defect",
}

PAGE = """{% macro score(metric) %}{% if metric is none or metric.value is none %}&ndash;
{% elif metric.low is none %}<span class="few">too few groups ({{ metric.n }})</span>
{% else %}{{ "%.3f"|format(metric.value) }}
<small>{{ "%.3f to %.3f, n %d"|format(metric.low, metric.high, metric.n) }}</small>
{% endif %}{% endmacro -%}
{% macro share(one) %}{% if not one.images %}&ndash;
{% elif one.rate.low is none %}{{ one.count }} of {{ one.images }}
<span class="few">too few groups ({{ one.rate.n }})</span>
{% else %}{{ "%.1f"|format(100 * one.rate.value) }} %
<small>{{ "%.1f to %.1f"|format(100 * one.rate.low, 100 * one.rate.high) }},
{{ one.count }} of {{ one.images }}, n {{ one.rate.n }}</small>
{% endif %}{% endmacro -%}
<!doctype html>
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
td.field{white-space:nowrap}
td small,td .few{display:block;font-size:12px;color:#595959;white-space:nowrap}
.pictures{display:flex;flex-wrap:wrap;gap:1.5rem}.pictures figure{margin:0}
.views{display:flex;flex-wrap:wrap;gap:.25rem}.views div{font-size:12px;color:#595959}
.views img{display:block}
figcaption{font-size:13px}
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
{% for model, name, metric in metrics %}<tr><td>{{ model }}<td>{{ words[name] or name }}
<td class="number">{{ "%.4f"|format(metric.value) if metric.value is not none else "unknown" }}
<td class="number">{% if metric.low is not none %}
{{ "%.4f to %.4f"|format(metric.low, metric.high) }}
{% else %}too few groups{% endif %}<td class="number">{{ metric.n }}</tr>{% endfor %}</table>
<p>Intervals resample whole groups; those of rates are at least as wide as Clopper and Pearson's
over the groups, those of AUROC as Newcombe's. Where that of another figure has no width, no
resample saw an error, which is not to say that there is none. Rank metrics use raw scores. F1 and
F2 count an image as found from even odds on; escape, overkill and review rate are at the line's
thresholds. ECE is the expected calibration error: how far a calibrated probability is from the
share of defects, 0 at best. Figures of pixels are at the model's input size, of defects with a mask
and of good images; AUPRO weighs every region of a defect the same (Bergmann et al., IJCV 2021). The
hottest pixel may lie beside the mask by {{ "%.0f"|format(100 * tolerance) }} % of the longer side
(pointing game, Zhang et al., IJCV 2018).</p>

<h2>Verdicts</h2>
<p>p_defect up to {{ "%.4g"|format(card.thresholds.pass_below) }} passes, from
{{ "%.4g"|format(card.thresholds.fail_above) }} fails, between is reviewed; from the costs escape
{{ card.thresholds.escape_cost }}, overkill {{ card.thresholds.overkill_cost }}, review
{{ card.thresholds.review_cost }} (Chow's rule)
{%- if card.thresholds.ceiling %}, and what passes from a ceiling on escapes{% endif %}.
{% if card.thresholds.prevalence %}The line's file says that
{{ "%.3g"|format(100 * card.thresholds.prevalence) }} % of its parts are defective: p_defect, the
review rate, ECE and the reliability diagram are for such a line, whatever the share of defects of
the images here; the counts and slices are of these images.{% endif %}</p>
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
<table><tr><th>by<th>value<th class="number">AUROC<th class="number">escapes
<th class="number">overkill<th class="number">held for review<th class="number">Dice</tr>
{% for row in slices %}<tr><td class="field">{{ row.field }}<td>{{ row.name }}
<td class="number">{{ score(row.auroc) }}<td class="number">{{ share(row.escape) }}
<td class="number">{{ share(row.overkill) }}<td class="number">{{ share(row.review) }}
<td class="number">{{ score(row.dice) }}</tr>
{% else %}<tr><td colspan="7">nothing to slice by</tr>{% endfor %}</table>
<p>n counts groups, for AUROC those of the scarcer kind. Defect types and sizes are ranked against
all good images. Thirds are of the test images. Of a field with more than {{ most }} values those
with the most groups are shown.</p>

<h2>Worst errors and heat maps</h2>
<p>Beside each image what the models see, with the true mask outlined in cyan; one image of a group.
The segmenter's colours run from 0 to 1, those of the others from the coldest to the hottest pixel
on this page.</p>
{% for title, rows in worst.items() if rows %}<h3>{{ title }}</h3>
<div class="pictures">{% for row in rows %}{% set one = row.picture %}<figure><div class="views">
{% for name, uri in one.views.items() %}<div>{{ name }}<img src="{{ uri }}"
alt="{{ name }} of part {{ one.sample.part }}"></div>
{% endfor %}</div><figcaption>{{ one.sample.part }}
{%- if one.sample.lot %}, lot {{ one.sample.lot }}{% endif %}:
{{ one.sample.defect_type or one.sample.label }}, verdict {{ one.decision.verdict }}, p_defect
{{ "%.3f"|format(one.decision.p_defect) if one.decision.p_defect is not none else "unknown" }}
{%- if row.dice is not none %}, Dice {{ "%.2f"|format(row.dice) }}{% endif %}
{%- if row.pointing %}; hottest pixel in the defect:
{% for name, hit in row.pointing.items() %}{{ name }} {{ "yes" if hit else "no" }}
{{- ", " if not loop.last }}{% endfor %}
{%- elif one.sample.is_defect %} (no mask){% endif %}</figcaption>
</figure>{% endfor %}</div>{% endfor %}

<h2>Models</h2>
<table><tr><th>model<th class="number">input<th class="number">weight<th class="number">parity
<th class="number">ms per image</tr>
{% for name, model in card.models.items() %}<tr><td>{{ name }}
{%- if model.backbone %} ({{ model.backbone.name }}, weights: {{ model.backbone.weights }})
{%- endif %}
<td class="number">{{ model.size[0] }} x {{ model.size[1] }}
<td class="number">{{ "%.3f"|format(model.fusion_weight) }}
<td class="number">{{ "%.1e"|format(model.parity) }} ({{ model.parity_images }} images)
<td class="number">{{ latency[name] }}</tr>{% endfor %}</table>
<p>Parity is the largest difference of a raw score between torch and ONNX Runtime. Times were
measured with one image on the machine that made this report.</p>
{% for name, model in card.models.items() if model.int8 %}{% set int8 = model.int8 %}
<p>{{ name }}: {% if int8.shipped %}shipped in int8{% else %}int8 was tried, fp32 is shipped
({{ int8.reason }}){% endif %}.
{%- if int8.size_ratio %} The int8 file is {{ "%.2f"|format(int8.size_ratio) }} times smaller and
loses {{ "%.2f"|format(int8.loss_points) }} points on validation, or its noise should cost them;
calibration {{ int8.calibration }}
on {{ int8.calibration_images }} training images, {{ int8.fp32_layers }} of {{ int8.layers }}
convolutions in fp32; a score differs by up to {{ int8.score_difference }}.{% endif %}
{%- if speed[name] %} One image took {{ speed[name].fp32_ms }} ms in fp32 and
{{ speed[name].int8_ms }} ms in int8 on {{ speed[name].machine }}
({{ speed[name].threads }} threads).{% endif %}</p>{% endfor %}
<h2>Data</h2>
<table>{% for name, count in card.dataset_counts.items() %}<tr><td>{{ name }}
<td class="number">{{ count }}</tr>{% endfor %}</table>
</html>
"""
