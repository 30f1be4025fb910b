import type { NamedMetric } from "./metrics";
import { figure, interval } from "./metrics";

const TICKS = [0, 0.25, 0.5, 0.75, 1];
// Room at both ends, so that a dot at 0 or 1 is not cut off.
const MARGIN = 3;

function across(value: number): string {
  return `${MARGIN + (100 - 2 * MARGIN) * Math.min(Math.max(value, 0), 1)}%`;
}

/** A dot for each value and a whisker for its 95 % interval, from 0 to 1. */
export function MetricsPlot({ metrics }: { metrics: NamedMetric[] }) {
  return (
    <div>
      <ul className="metric-rows">
        {metrics.map((metric) => (
          <li key={metric.name}>
            <span>{metric.words}</span>
            <Whisker metric={metric} />
            <span className="figure">
              <strong>{figure(metric)}</strong> <span className="quiet">{interval(metric)}</span>
            </span>
            <span className="quiet small">n {metric.n}</span>
          </li>
        ))}
      </ul>
      <div className="metric-axis" aria-hidden="true">
        <svg width="100%" height="16">
          {TICKS.map((tick) => (
            <text key={tick} x={across(tick)} y="12" textAnchor="middle">
              {tick}
            </text>
          ))}
        </svg>
      </div>
    </div>
  );
}

function Whisker({ metric }: { metric: NamedMetric }) {
  const { value, low, high, n } = metric;
  const known = low !== null && high !== null;
  return (
    <svg
      className="whisker"
      width="100%"
      height="20"
      role="img"
      aria-label={`${metric.words}: ${figure(metric)}, 95 % interval ${interval(metric)}, ${n} test groups`}
    >
      {TICKS.map((tick) => (
        <line key={tick} className="grid" x1={across(tick)} x2={across(tick)} y1="0" y2="20" />
      ))}
      {known && (
        <>
          <line className="span" x1={across(low)} x2={across(high)} y1="10" y2="10" />
          <line className="span" x1={across(low)} x2={across(low)} y1="5" y2="15" />
          <line className="span" x1={across(high)} x2={across(high)} y1="5" y2="15" />
        </>
      )}
      {value !== null && <circle className={known ? "dot" : "dot dot-open"} cx={across(value)} cy="10" r="4" />}
    </svg>
  );
}
