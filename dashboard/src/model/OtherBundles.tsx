import { reportAddress } from "../api/client";
import type { Run } from "../api/documents";
import { ReportLink } from "../reports/ReportLink";
import { useRuns } from "./useRuns";

const DECISION: Record<string, string> = {
  promoted: "was promoted",
  kept: "not promoted, the champion was kept",
  waiting: "waits for approval",
  rejected: "rejected by a person",
  rolled_back: "was live, then rolled back",
};

/** The bundles that were measured besides the champion, and why they are not live. */
export function OtherBundles({ line, champion }: { line: string; champion: string | null }) {
  const runs = useRuns(line);
  const others = (runs.data ?? []).filter((run) => run.bundle !== champion);
  if (others.length === 0) return null;
  return (
    <>
      <h3>Other bundles</h3>
      <ul className="rows">
        {others.map((run) => (
          <OtherBundle key={run.bundle} run={run} />
        ))}
      </ul>
    </>
  );
}

function OtherBundle({ run }: { run: Run }) {
  const report = reportAddress(run.report);
  return (
    <li>
      <p>
        <code title={run.bundle}>{run.bundle.slice(0, 8)}</code> {DECISION[run.decision] ?? run.decision}
        {report !== null && (
          <>
            {" · "}
            <ReportLink address={report}>{`report of ${run.bundle.slice(0, 8)}`}</ReportLink>
          </>
        )}
      </p>
      {run.reasons.map((reason) => (
        <p key={reason} className="quiet">
          {reason}
        </p>
      ))}
    </li>
  );
}
