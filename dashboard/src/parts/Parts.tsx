import { useState } from "react";

import type { Part } from "../api/documents";
import { Polled } from "../connection/Polled";
import { PartCard } from "./PartCard";
import { PartsFilter } from "./PartsFilter";
import type { Filter } from "./useParts";
import { PARTS_MOST, PARTS_STEP, useParts } from "./useParts";

export function Parts({ line }: { line: string }) {
  const [filter, setFilter] = useState<Filter>("all");
  const [day, setDay] = useState("");
  const [limit, setLimit] = useState(PARTS_STEP);
  const parts = useParts(line, filter, day, limit);
  return (
    <section className="panel" aria-labelledby="parts-heading">
      <h2 id="parts-heading">Parts held or failed</h2>
      <PartsFilter line={line} filter={filter} onFilter={setFilter} day={day} onDay={setDay} />
      <Polled poll={parts} what="the parts">
        {(known) =>
          known.length === 0 ? <p className="empty">{EMPTY[filter]}</p> : <Cards line={line} parts={known} />
        }
      </Polled>
      {(parts.data?.length ?? 0) >= limit && limit < PARTS_MOST && (
        <button type="button" className="more" onClick={() => setLimit(limit + PARTS_STEP)}>
          Show {PARTS_STEP} more
        </button>
      )}
    </section>
  );
}

function Cards({ line, parts }: { line: string; parts: Part[] }) {
  return (
    <ul className="parts">
      {parts.map((part) => (
        <PartCard key={`${part.day} ${part.sha256} ${part.object}`} line={line} part={part} />
      ))}
    </ul>
  );
}

const EMPTY: Record<Filter, string> = {
  all: "No part is held or failed.",
  review: "No part is held for review.",
  fail: "No part failed.",
};
