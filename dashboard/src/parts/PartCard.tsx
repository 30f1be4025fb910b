import { useState } from "react";

import { imageAddress } from "../api/client";
import type { Part } from "../api/documents";
import { VerdictBadge } from "../verdicts/Badge";
import { ReviewForm } from "./ReviewForm";

export function PartCard({ line, part }: { line: string; part: Part }) {
  const name = part.part || part.object;
  const title = part.camera ? `${name}, camera ${part.camera}` : name;
  return (
    <li className="part">
      <Thumbnail address={imageAddress(line, part.sha256)} title={title} />
      <div className="part-body">
        <h3>{title}</h3>
        <p>
          <VerdictBadge verdict={part.verdict} />
        </p>
        {part.reason !== null && part.reason !== "" && <p>{part.reason}</p>}
        <p className="quiet">{facts(part)}</p>
        <details>
          <summary>Review {title}</summary>
          <ReviewForm line={line} part={part} title={title} />
        </details>
      </div>
    </li>
  );
}

function facts(part: Part): string {
  return [
    part.day,
    part.lot ? `lot ${part.lot}` : null,
    part.p_defect === null ? "no score" : `p(defect) ${part.p_defect.toFixed(3)}`,
    part.defect_type || null,
  ]
    .filter((fact) => fact !== null)
    .join(" · ");
}

function Thumbnail({ address, title }: { address: string; title: string }) {
  const [missing, setMissing] = useState(false);
  if (missing) return <p className="thumbnail empty">Picture not available</p>;
  return (
    <a className="thumbnail" href={address}>
      <img src={address} alt={`Picture of ${title}`} loading="lazy" onError={() => setMissing(true)} />
    </a>
  );
}
