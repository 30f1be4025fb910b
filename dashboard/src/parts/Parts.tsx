import { useState } from "react";

import { Polled } from "../connection/Polled";
import { PartCard } from "./PartCard";
import type { Filter } from "./useParts";
import { PARTS_SHOWN, useParts } from "./useParts";

const FILTERS: readonly [Filter, string][] = [
  ["all", "All"],
  ["review", "Held for review"],
  ["fail", "Failed"],
];

export function Parts({ line }: { line: string }) {
  const [filter, setFilter] = useState<Filter>("all");
  const parts = useParts(line, filter);
  return (
    <section className="panel" aria-labelledby="parts-heading">
      <h2 id="parts-heading">Parts held or failed</h2>
      <fieldset className="filter">
        <legend>Show</legend>
        {FILTERS.map(([value, words]) => (
          <label key={value}>
            <input
              type="radio"
              name="parts-filter"
              value={value}
              checked={filter === value}
              onChange={() => setFilter(value)}
            />{" "}
            {words}
          </label>
        ))}
      </fieldset>
      <Polled poll={parts} what="the parts">
        {(known) =>
          known.length === 0 ? (
            <p className="empty">{EMPTY[filter]}</p>
          ) : (
            <>
              <ul className="parts">
                {known.map((part) => (
                  <PartCard key={`${part.day} ${part.sha256}`} line={line} part={part} />
                ))}
              </ul>
              {known.length >= PARTS_SHOWN && <p className="quiet">The newest {PARTS_SHOWN} are shown.</p>}
            </>
          )
        }
      </Polled>
    </section>
  );
}

const EMPTY: Record<Filter, string> = {
  all: "No part is held or failed.",
  review: "No part is held for review.",
  fail: "No part failed.",
};
