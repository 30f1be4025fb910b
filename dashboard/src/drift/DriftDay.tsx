import { reportAddress } from "../api/client";
import type { DriftWindow } from "../api/documents";
import { ReportLink } from "../reports/ReportLink";
import { Badge, SeverityBadge } from "../verdicts/Badge";
import { whole } from "../verdicts/numbers";
import { DriftTests } from "./DriftTests";

const KINDS = ["image", "embedding", "model"];

/** The windows of one day: what was compared, how bad it is, and the tests behind it. */
export function DriftDay({ day, windows, newest }: { day: string; windows: DriftWindow[]; newest: boolean }) {
  const ordered = [...windows].sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind));
  return (
    <li>
      <h3>
        <time dateTime={day}>{day}</time>
      </h3>
      {ordered.map((window) =>
        window.tests.length === 0 ? (
          <NotTested key={window.kind} window={window} />
        ) : (
          <Tested key={window.kind} window={window} open={newest && window.severity !== "none"} />
        ),
      )}
    </li>
  );
}

/** Without tests nothing is known; the severity `none` must not read as "no drift". */
function NotTested({ window }: { window: DriftWindow }) {
  return (
    <p>
      {window.kind} <Badge tone="quiet">not tested</Badge>{" "}
      <span className="quiet small">{window.note || `${whole(window.images)} images`}</span>
    </p>
  );
}

function Tested({ window, open }: { window: DriftWindow; open: boolean }) {
  const report = reportAddress(window.report);
  const drifted = window.tests.filter((test) => test.drifted).length;
  return (
    <details open={open}>
      <summary>
        <span>{window.kind}</span> <SeverityBadge severity={window.severity} />{" "}
        <span className="quiet small">
          {drifted} of {window.tests.length} tests drifted, {whole(window.images)} images
        </span>
      </summary>
      {report !== null && (
        <p>
          <ReportLink address={report}>{`Drift report of ${window.day}, ${window.kind}`}</ReportLink>
        </p>
      )}
      <DriftTests tests={window.tests} label={`Tests of ${window.day}, ${window.kind}`} />
    </details>
  );
}
