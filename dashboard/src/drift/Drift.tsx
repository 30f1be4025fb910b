import { reportAddress } from "../api/client";
import type { DriftTest, DriftWindow } from "../api/documents";
import { Polled } from "../connection/Polled";
import { Badge, SeverityBadge } from "../verdicts/Badge";
import { useDrift } from "./useDrift";

export function Drift({ line }: { line: string }) {
  const windows = useDrift(line);
  return (
    <section className="panel" aria-labelledby="drift-heading">
      <h2 id="drift-heading">Drift</h2>
      <Polled poll={windows} what="the drift windows">
        {(known) =>
          known.length === 0 ? <p className="empty">Drift has not been measured yet.</p> : <Days windows={known} />
        }
      </Polled>
    </section>
  );
}

function Days({ windows }: { windows: DriftWindow[] }) {
  const days = [...new Set(windows.map((window) => window.day))];
  return (
    <ul className="rows">
      {days.map((day) => (
        <li key={day}>
          <h3>
            <time dateTime={day}>{day}</time>
          </h3>
          {windows
            .filter((window) => window.day === day)
            .map((window) => (
              <Window key={window.kind} window={window} />
            ))}
        </li>
      ))}
    </ul>
  );
}

function Window({ window }: { window: DriftWindow }) {
  const report = reportAddress(window.report);
  const drifted = window.tests.filter((test) => test.drifted).length;
  return (
    <details>
      <summary>
        {window.kind} <SeverityBadge severity={window.severity} />{" "}
        <span className="quiet">
          {drifted} of {window.tests.length} tests drifted, {window.images.toLocaleString("en")} images
        </span>
      </summary>
      {report !== null && (
        <p>
          <a href={report}>
            Drift report of {window.day}, {window.kind}
          </a>
        </p>
      )}
      <Tests tests={window.tests} label={`Tests of ${window.day}, ${window.kind}`} />
    </details>
  );
}

function Tests({ tests, label }: { tests: DriftTest[]; label: string }) {
  const drifted = [...tests].sort((a, b) => Number(b.drifted) - Number(a.drifted));
  return (
    <div className="scroll" role="region" aria-label={label} tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th scope="col">Test</th>
            <th scope="col">Statistic</th>
            <th scope="col">p-value</th>
            <th scope="col">Threshold</th>
            <th scope="col">Result</th>
          </tr>
        </thead>
        <tbody>
          {drifted.map((test) => (
            <tr key={test.name}>
              <th scope="row">{test.name}</th>
              <td>{short(test.statistic)}</td>
              <td>{short(test.p_value)}</td>
              <td>{short(test.threshold)}</td>
              <td>{test.drifted ? <Badge tone="bad">drifted</Badge> : <Badge tone="good">same</Badge>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Three significant digits; p-values span many orders of magnitude. */
export function short(value: number | null): string {
  if (value === null) return "none";
  if (value === 0) return "0";
  return Math.abs(value) < 0.001 ? value.toExponential(1) : value.toPrecision(3);
}
