import type { Metric, Run } from "../api/documents";
import { percent } from "../verdicts/numbers";

export interface NamedMetric extends Metric {
  model: string;
  name: string;
  words: string;
}

const WORDS: Record<string, string> = {
  auroc: "AUROC",
  ap: "average precision",
  escape: "escape: defective images passed",
  overkill: "overkill: good images failed",
  review_rate: "held for review",
  escaped_groups: "defective groups of which an image passed",
  type_accuracy: "defect type right, of defects failed",
  ece: "calibration error (ECE)",
  f1: "F1",
  f2: "F2",
  dice: "Dice, mean of defects",
  dice_macro: "Dice, mean of defect types",
  dice_pooled: "Dice, all pixels together",
  iou: "IoU, mean of defects",
  iou_pooled: "IoU, all pixels together",
  pixel_auroc: "pixel AUROC",
  aupro: "AUPRO",
  pointing: "hottest pixel in the defect",
  missed: "defects not marked at all",
  false_region: "good images marked",
};

// Percentages, where lower is better; everything else is a score, where higher is better.
const RATES = ["escape", "escaped_groups", "overkill", "review_rate", "ece", "missed", "false_region"];
const MODELS = ["fused", "classifier", "segmenter", "anomaly"];
const METRICS = [...RATES, ...Object.keys(WORDS).filter((name) => !RATES.includes(name))];

/** The metrics of a run by model, the fused verdict first; ones that are unknown here come last. */
export function byModel(metrics: Run["metrics"]): [string, NamedMetric[]][] {
  const named = Object.entries(metrics).map(([key, metric]): NamedMetric => {
    const dot = key.indexOf(".");
    const name = key.slice(dot + 1);
    return { ...metric, model: key.slice(0, Math.max(dot, 0)), name, words: WORDS[name] ?? name };
  });
  named.sort((a, b) => place(METRICS, a.name) - place(METRICS, b.name));
  const models = [...new Set(named.map((metric) => metric.model))];
  models.sort((a, b) => place(MODELS, a) - place(MODELS, b));
  return models.map((model) => [model, named.filter((metric) => metric.model === model)]);
}

function place(order: readonly string[], name: string): number {
  const index = order.indexOf(name);
  return index < 0 ? order.length : index;
}

/** The value: a percentage for a rate, three decimals for a score, or that there is none. */
export function figure({ name, value }: NamedMetric): string {
  return value === null ? "none" : written(name, value);
}

/** The 95 % interval in words. */
export function interval({ name, low, high }: NamedMetric): string {
  return low === null || high === null ? "too few samples" : `${written(name, low)} to ${written(name, high)}`;
}

function written(name: string, value: number): string {
  return RATES.includes(name) ? percent(value) : value.toFixed(3);
}
