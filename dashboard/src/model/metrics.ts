import type { Metric, Run } from "../api/documents";

export interface NamedMetric extends Metric {
  model: string;
  name: string;
  words: string;
}

const WORDS: Record<string, string> = {
  auroc: "AUROC",
  ap: "average precision",
  escape: "escape (bad passed), lower is better",
  overkill: "overkill (good failed), lower is better",
  review_rate: "review rate, lower is better",
  f1: "F1",
  f2: "F2",
  dice: "Dice",
  pixel_auroc: "pixel AUROC",
};

const MODELS = ["fused", "classifier", "segmenter", "anomaly"];
const METRICS = Object.keys(WORDS);

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

/** A value with three decimals, or that there is none. */
export function figure(value: number | null): string {
  return value === null ? "none" : value.toFixed(3);
}

/** The 95 % interval in words. */
export function interval({ low, high }: Metric): string {
  return low === null || high === null ? "too few samples" : `${figure(low)} to ${figure(high)}`;
}
