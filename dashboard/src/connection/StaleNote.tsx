import { useSyncExternalStore } from "react";

import { Unreachable } from "../api/client";
import { connection } from "./connection";
import type { Connection } from "./connection";

/** Says, once per page, that what is shown may be out of date. */
export function StaleNote() {
  const now = useSyncExternalStore(connection.subscribe, connection.read);
  return (
    <div role="status" className="stale-room">
      {now.failure !== null && (
        <p className="note note-warning">
          <span aria-hidden="true">▲</span> {sentence(now, now.failure)}
        </p>
      )}
    </div>
  );
}

function sentence({ lastAnswer }: Connection, failure: Error): string {
  const what = failure instanceof Unreachable ? failure.message : `The API answered with an error (${failure.message})`;
  if (lastAnswer === null) return `${what}. Nothing could be read yet; trying again every 15 seconds.`;
  const time = new Date(lastAnswer).toLocaleTimeString([], { hour12: false });
  return `${what}. Stale: what you see was read at ${time}; trying again every 15 seconds.`;
}
