import type { LineAtAGlance, Night } from "../api/documents";
import { lineHref } from "../app/useRoute";
import { Champion } from "../line/Champion";
import { Badge, SeverityBadge } from "../verdicts/Badge";
import { whole } from "../verdicts/numbers";
import { VerdictBar, VerdictCounts } from "../verdicts/VerdictBar";

export function LineCard({ line }: { line: LineAtAGlance }) {
  return (
    <li className="card">
      <h2>
        <a href={lineHref(line.line)}>{line.title}</a>
      </h2>
      {line.description !== null && <p className="quiet">{line.description}</p>}
      {line.night === null ? <p className="empty">No night yet.</p> : <LastNight night={line.night} />}
      <Champion bundle={line.bundle} />
      <p className="badges">
        {/* Before the first night, and where there were too few groups, nothing is known of drift. */}
        <SeverityBadge severity={line.severity} />
        <OpenAlerts alerts={line.alerts} />
      </p>
      {line.spread && <p className="quiet">Days are dealt, not captured.</p>}
    </li>
  );
}

function LastNight({ night }: { night: Night }) {
  return (
    <div>
      <p className="quiet">
        Last night, <time dateTime={night.day}>{night.day}</time>: {whole(night.images)} images
      </p>
      <VerdictBar counts={night} label={`Verdicts of ${night.day}`} />
      <VerdictCounts counts={night} />
    </div>
  );
}

function OpenAlerts({ alerts }: { alerts: number }) {
  if (alerts === 0) return <Badge tone="good">no open alerts</Badge>;
  return <Badge tone="warning">{`${alerts} open ${alerts === 1 ? "alert" : "alerts"}`}</Badge>;
}
