import type { Alert } from "../api/documents";
import { Polled } from "../connection/Polled";
import { Badge } from "../verdicts/Badge";
import { useAlerts } from "./useAlerts";

const ACTION: Record<string, string> = {
  none: "nothing to do",
  flag: "flagged for people to look at",
  retrain: "retraining was requested",
};

export function Alerts({ line }: { line: string }) {
  const alerts = useAlerts(line);
  return (
    <section className="panel" aria-labelledby="alerts-heading">
      <h2 id="alerts-heading">Alerts</h2>
      <Polled poll={alerts} what="the alerts">
        {(known) =>
          known.length === 0 ? (
            <p className="empty">No alerts.</p>
          ) : (
            <ul className="rows">
              {known.map((alert) => (
                <AlertRow key={`${alert.day} ${alert.kind}`} alert={alert} />
              ))}
            </ul>
          )
        }
      </Polled>
    </section>
  );
}

function AlertRow({ alert }: { alert: Alert }) {
  const tone = alert.severity === "alarm" ? "bad" : alert.severity === "warning" ? "warning" : "quiet";
  return (
    <li>
      <p>
        <Badge tone={tone}>{alert.severity}</Badge> <strong>{alert.title}</strong>
      </p>
      {alert.detail !== null && <p>{alert.detail}</p>}
      <p className="quiet">
        <time dateTime={alert.day}>{alert.day}</time>
        {alert.action !== null && ` · ${ACTION[alert.action] ?? alert.action}`}
      </p>
    </li>
  );
}
