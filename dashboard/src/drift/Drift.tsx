import type { DriftWindow } from "../api/documents";
import { Polled } from "../connection/Polled";
import { DriftDay } from "./DriftDay";
import { useDrift } from "./useDrift";

const DAYS_IN_SIGHT = 5;

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
  const earlier = days.slice(DAYS_IN_SIGHT);
  return (
    <>
      <p className="quiet small">
        Each night is compared with what the champion was measured on. All tests of a night share one false-alarm rate
        (Holm): the smallest p-value meets the strictest threshold, and from the first that is too large on none counts.
      </p>
      <DayList days={days.slice(0, DAYS_IN_SIGHT)} windows={windows} />
      {earlier.length > 0 && (
        <details>
          <summary>{`Earlier days (${earlier.length})`}</summary>
          <DayList days={earlier} windows={windows} />
        </details>
      )}
    </>
  );
}

function DayList({ days, windows }: { days: string[]; windows: DriftWindow[] }) {
  return (
    <ul className="rows">
      {days.map((day) => (
        <DriftDay
          key={day}
          day={day}
          windows={windows.filter((window) => window.day === day)}
          newest={day === windows[0]?.day}
        />
      ))}
    </ul>
  );
}
