import type { Night } from "../api/documents";
import { Polled } from "../connection/Polled";
import { Badge } from "../verdicts/Badge";
import { whole } from "../verdicts/numbers";
import { VerdictBar, VerdictCounts } from "../verdicts/VerdictBar";
import { useNights } from "./useNights";

const NIGHTS_SHOWN = 30;

export function Nights({ line }: { line: string }) {
  const nights = useNights(line);
  return (
    <section className="panel" aria-labelledby="nights-heading">
      <h2 id="nights-heading">Verdicts per night</h2>
      <Polled poll={nights} what="the nights">
        {(known) => (known.length === 0 ? <p className="empty">No night yet.</p> : <Shown nights={known} />)}
      </Polled>
    </section>
  );
}

function Shown({ nights }: { nights: Night[] }) {
  const recent = nights.slice(0, NIGHTS_SHOWN);
  const largest = Math.max(...recent.map((night) => night.images));
  return (
    <>
      {recent[0] !== undefined && (
        <>
          <p className="quiet">
            Last night, <time dateTime={recent[0].day}>{recent[0].day}</time>: {whole(recent[0].images)} images
          </p>
          <VerdictCounts counts={recent[0]} />
        </>
      )}
      <ul className="night-bars">
        {recent.map((night) => (
          <li key={night.day}>
            <time dateTime={night.day}>{night.day}</time>
            <VerdictBar counts={night} full={largest} label={night.day} />
            <Reconciled reconciled={night.reconciled} />
          </li>
        ))}
      </ul>
      <p className="quiet small">
        Reconciled: the night's images, predictions and documents were counted and agree.
      </p>
      <details>
        <summary>Nights as a table</summary>
        <NightsTable nights={nights} />
      </details>
    </>
  );
}

/** Whether images, predictions and documents of the night were counted and found equal. */
function Reconciled({ reconciled }: { reconciled: boolean }) {
  return reconciled ? <Badge tone="good">reconciled</Badge> : <Badge tone="warning">not reconciled</Badge>;
}

function NightsTable({ nights }: { nights: Night[] }) {
  return (
    <div className="scroll" role="region" aria-label="Nights as a table" tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th scope="col">Day</th>
            <th scope="col">Images</th>
            <th scope="col">Pass</th>
            <th scope="col">Review</th>
            <th scope="col">Fail</th>
            <th scope="col">Bundle</th>
            <th scope="col">Reconciled</th>
          </tr>
        </thead>
        <tbody>
          {nights.map((night) => (
            <tr key={night.day}>
              <th scope="row">{night.day}</th>
              <td>{whole(night.images)}</td>
              <td>{whole(night.pass)}</td>
              <td>{whole(night.review)}</td>
              <td>{whole(night.fail)}</td>
              <td>{night.bundle ? <code>{night.bundle.slice(0, 8)}</code> : "none"}</td>
              <td>{night.reconciled ? "yes" : "no"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
