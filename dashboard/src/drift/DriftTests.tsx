import type { DriftTest } from "../api/documents";
import { Badge } from "../verdicts/Badge";

/** The tests of a window, drifted ones first. */
export function DriftTests({ tests, label }: { tests: DriftTest[]; label: string }) {
  const ordered = [...tests].sort((a, b) => Number(b.drifted) - Number(a.drifted));
  return (
    <div className="scroll figures" role="region" aria-label={label} tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th scope="col">Test</th>
            <th scope="col">Statistic</th>
            <th scope="col">Shift</th>
            <th scope="col">p-value</th>
            <th scope="col">Threshold</th>
            <th scope="col">Result</th>
          </tr>
        </thead>
        <tbody>
          {ordered.map((test) => (
            <tr key={test.name}>
              <th scope="row">{test.name}</th>
              <td>{short(test.statistic)}</td>
              <td>{shift(test.effect)}</td>
              <td>{short(test.p_value)}</td>
              <td>{threshold(test)}</td>
              <td>{test.drifted ? <Badge tone="bad">drifted</Badge> : <Badge tone="good">same</Badge>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** In deviations of the reference; 99 is where the server cuts off. */
function shift(effect: number | null): string {
  if (effect === null) return "none";
  return effect >= 99 ? "≥ 99 sd" : `${effect.toFixed(1)} sd`;
}

/** Holm gives no level, stored as 0, to the tests after the first that is not small enough. */
function threshold(test: DriftTest): string {
  return test.threshold === null || test.threshold === 0 ? "not met" : `≤ ${short(test.threshold)}`;
}

/** Three significant digits; p-values span many orders of magnitude. */
export function short(value: number | null): string {
  if (value === null) return "none";
  if (value === 0) return "0";
  return Math.abs(value) < 0.001 ? value.toExponential(1) : value.toPrecision(3);
}
