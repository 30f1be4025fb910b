/** The documents of the results store, as ARCHITECTURE.md lays them down. */

import { count, flag, list, mapping, nullable, number, object, oneOf, present, text } from "./shape";
import type { Guard } from "./shape";

export type Verdict = "pass" | "fail" | "review";
export type Severity = "none" | "warning" | "alarm";

const severity = oneOf<Severity>("none", "warning", "alarm");

export interface Night {
  day: string;
  bundle: string | null;
  images: number;
  pass: number;
  fail: number;
  review: number;
  reconciled: boolean;
}

export const night = object<Night>({
  day: text,
  bundle: nullable(text),
  images: number,
  pass: number,
  fail: number,
  review: number,
  reconciled: flag,
});

export interface Line {
  line: string;
  title: string;
  description: string | null;
  models: string[];
  bundle: string | null;
  spread: boolean;
}

const lineFields = {
  line: text,
  title: text,
  description: nullable(text),
  models: list(text),
  bundle: nullable(text),
  spread: present,
};

export interface LineAtAGlance extends Line {
  night: Night | null;
  severity: Severity | null;
  alerts: number;
}

const glance = object<LineAtAGlance>({
  ...lineFields,
  night: nullable(night),
  severity: nullable(severity),
  alerts: count,
});

export interface Metric {
  value: number | null;
  low: number | null;
  high: number | null;
  n: number;
}

export interface Run {
  bundle: string;
  dataset: string | null;
  decision: string;
  reasons: string[];
  metrics: Record<string, Metric>;
  warnings: string[];
  report: string | null;
}

const run = object<Run>({
  bundle: text,
  dataset: nullable(text),
  decision: text,
  reasons: list(text),
  metrics: mapping(
    object<Metric>({ value: nullable(number), low: nullable(number), high: nullable(number), n: number }),
  ),
  warnings: list(text),
  report: nullable(text),
});

export interface LineInDetail {
  line: Line;
  night: Night | null;
  run: Run | null;
  /** The report of what validation refused; null before the first ingest. */
  validation: string | null;
}

export interface DriftTest {
  name: string;
  statistic: number | null;
  p_value: number | null;
  threshold: number | null;
  /** The shift in standard deviations of the reference. */
  effect: number | null;
  drifted: boolean;
}

export interface DriftWindow {
  day: string;
  kind: string;
  severity: Severity;
  images: number;
  /** Why there are no tests. */
  note: string | null;
  tests: DriftTest[];
  report: string | null;
}

const driftWindow = object<DriftWindow>({
  day: text,
  kind: text,
  severity,
  images: number,
  note: nullable(text),
  tests: list(
    object<DriftTest>({
      name: text,
      statistic: nullable(number),
      p_value: nullable(number),
      threshold: nullable(number),
      effect: nullable(number),
      drifted: flag,
    }),
  ),
  report: nullable(text),
});

export interface Alert {
  day: string;
  kind: string;
  severity: Severity;
  title: string;
  detail: string | null;
  action: string | null;
}

const alert = object<Alert>({
  day: text,
  kind: text,
  severity,
  title: text,
  detail: nullable(text),
  action: nullable(text),
});

export interface Part {
  day: string;
  part: string | null;
  lot: string | null;
  camera: string | null;
  object: string;
  sha256: string;
  verdict: Verdict;
  reason: string | null;
  p_defect: number | null;
  /** The probability of a defect by each model alone; nights of an older Loupe have none. */
  calibrated: Record<string, number> | null;
  defect_type: string | null;
  /** Share of the image that is defect. */
  area: number | null;
  regions: Region[] | null;
}

export interface Region {
  /** Outlined by a segmenter that learned from weak masks; nights of an older Loupe do not say. */
  weak: boolean | null;
}

const part = object<Part>({
  day: text,
  part: nullable(text),
  lot: nullable(text),
  camera: nullable(text),
  object: text,
  sha256: text,
  verdict: oneOf<Verdict>("pass", "fail", "review"),
  reason: nullable(text),
  p_defect: nullable(number),
  calibrated: nullable(mapping(number)),
  defect_type: nullable(text),
  area: nullable(number),
  regions: nullable(list(object<Region>({ weak: nullable(flag) }))),
});

function items<T>(inner: Guard<T>): Guard<T[]> {
  const body = object<{ items: T[] }>({ items: list(inner) });
  return (value, where) => body(value, where).items;
}

export const linesAnswer: Guard<LineAtAGlance[]> = (value, where) =>
  object<{ lines: LineAtAGlance[] }>({ lines: list(glance) })(value, where).lines;
export const lineAnswer = object<LineInDetail>({
  line: object<Line>(lineFields),
  night: nullable(night),
  run: nullable(run),
  validation: nullable(text),
});
export const nightsAnswer = items(night);
export const runsAnswer = items(run);
export const windowsAnswer = items(driftWindow);
export const alertsAnswer = items(alert);
export const partsAnswer = items(part);

/** A person's verdict on one part. */
export interface Review {
  sha256: string;
  object: string;
  verdict: "pass" | "fail";
  defect_type: string;
  by: string;
  comment: string;
}
