import type { Verdict } from "../api/documents";
import { percent, whole } from "./numbers";

export type Counts = Record<Verdict, number>;

const ORDER: readonly Verdict[] = ["pass", "review", "fail"];

/** How the three counts read aloud. */
export function countsInWords(counts: Counts): string {
  return ORDER.map((verdict) => `${whole(counts[verdict])} ${verdict}`).join(", ");
}

interface Props {
  counts: Counts;
  /** The count that a full-length bar stands for; the sum of the counts when left out. */
  full?: number;
  label: string;
}

/** One stacked bar. Review is hatched and fail is crossed, so that no verdict is told by colour alone. */
export function VerdictBar({ counts, full, label }: Props) {
  const whole = Math.max(full ?? counts.pass + counts.fail + counts.review, 1);
  let start = 0;
  return (
    <svg className="verdict-bar" width="100%" height="18" role="img" aria-label={`${label}: ${countsInWords(counts)}`}>
      <rect className="verdict-track" width="100%" height="18" />
      {ORDER.map((verdict) => {
        const x = start;
        const width = (100 * counts[verdict]) / whole;
        start += width;
        return (
          <rect key={verdict} x={`${x}%`} width={`${width}%`} height="18" fill={`url(#fill-${verdict})`} />
        );
      })}
    </svg>
  );
}

/** The fills that every bar refers to; mounted once. */
export function VerdictFills() {
  return (
    <svg width="0" height="0" className="fills" aria-hidden="true" focusable="false">
      <defs>
        <pattern id="fill-pass" width="8" height="8" patternUnits="userSpaceOnUse">
          <rect width="8" height="8" className="ink-pass" />
        </pattern>
        <pattern id="fill-review" width="8" height="8" patternUnits="userSpaceOnUse">
          <rect width="8" height="8" className="ink-review" />
          <path d="M-2 2l4-4M0 8l8-8M6 10l4-4" className="ink-mark" />
        </pattern>
        <pattern id="fill-fail" width="8" height="8" patternUnits="userSpaceOnUse">
          <rect width="8" height="8" className="ink-fail" />
          <path d="M0 8l8-8M0 0l8 8" className="ink-mark" />
        </pattern>
      </defs>
    </svg>
  );
}

/** Counts with their swatches: legend and numbers in one. */
export function VerdictCounts({ counts }: { counts: Counts }) {
  const all = counts.pass + counts.fail + counts.review;
  return (
    <ul className="verdict-counts">
      {ORDER.map((verdict) => (
        <li key={verdict}>
          <svg width="12" height="12" aria-hidden="true" focusable="false">
            <rect width="12" height="12" fill={`url(#fill-${verdict})`} />
          </svg>
          <strong>{whole(counts[verdict])}</strong> {verdict}
          {all > 0 && <span className="quiet small"> {percent(counts[verdict] / all)}</span>}
        </li>
      ))}
    </ul>
  );
}
