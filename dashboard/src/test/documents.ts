/** Documents as the API sends them, for the tests. */

export const night = {
  line: "demo",
  day: "2026-03-04",
  bundle: "0123456789abcdef",
  images: 100,
  pass: 80,
  fail: 5,
  review: 15,
  shards: 2,
  reconciled: true,
};

export const champion = {
  line: "demo",
  title: "Demo line",
  description: "A textured plate",
  models: ["classifier", "anomaly"],
  bundle: "0123456789abcdef",
  spread: null as unknown,
  night: night as typeof night | null,
  severity: "alarm" as string | null,
  alerts: 2,
};

export const run = {
  line: "demo",
  bundle: "0123456789abcdef",
  dataset: "d1",
  decision: "promoted",
  reasons: [] as string[],
  metrics: {
    "fused.escape": { value: 0.02, low: null, high: null, n: 12 },
    "fused.auroc": { value: 0.97, low: 0.93, high: 0.99, n: 40 },
    "classifier.auroc": { value: 0.95, low: 0.9, high: 0.98, n: 40 },
  },
  warnings: ["The classifier started from random weights"],
  report: "demo/evaluate/0123456789abcdef.html",
  dataset_counts: {},
};

export const driftWindow = {
  line: "demo",
  day: "2026-03-04",
  kind: "image",
  severity: "alarm",
  images: 100,
  note: "",
  tests: [
    { name: "contrast", statistic: 0.1, p_value: 0.4, threshold: 0, effect: 0.1, drifted: false },
    { name: "brightness", statistic: 0.9, p_value: 0.00001, threshold: 0.001, effect: 2.4, drifted: true },
  ],
  report: "demo/drift/2026-03-04.html",
};

export const alert = {
  line: "demo",
  day: "2026-03-04",
  kind: "image",
  severity: "alarm",
  title: "The light has changed",
  detail: "brightness differs from the reference",
  action: "retrain",
};

export const part = {
  line: "demo",
  day: "2026-03-04",
  part: "P-17",
  lot: "L-3",
  camera: "top",
  object: "day4/p17.png",
  sha256: "ab".repeat(32),
  verdict: "review",
  reason: "between the thresholds",
  p_defect: 0.43,
  defect_type: "scratch",
  scores: { classifier: -0.4, anomaly: 2.1 },
  calibrated: { classifier: 0.4, anomaly: 0.51 },
  area: 0.021,
  bundle: "0123456789abcdef",
};
