import { useState } from "react";

import { imageAddress } from "../api/client";
import type { Part } from "../api/documents";
import { Badge, VerdictBadge } from "../verdicts/Badge";
import { percent } from "../verdicts/numbers";
import { ReviewForm } from "./ReviewForm";
import { useReview } from "./useReview";

export function PartCard({ line, part }: { line: string; part: Part }) {
  const [sending, send] = useReview(line);
  const name = part.part || part.object;
  const title = part.camera ? `${name}, camera ${part.camera}` : name;
  return (
    <li className="part">
      <Thumbnail address={imageAddress(line, part.sha256)} title={title} />
      <div className="part-body">
        <h3>{title}</h3>
        <p>
          <VerdictBadge verdict={part.verdict} />{" "}
          {sending.state === "sent" && <Badge tone="quiet">{`your verdict: ${sending.verdict}`}</Badge>}
        </p>
        {part.reason !== null && part.reason !== "" && <p>{part.reason}</p>}
        <p className="quiet">{facts(part)}</p>
        {/* A part may have several images with one name and camera, such as two exposures. */}
        {part.object !== name && <p className="quiet small">{part.object}</p>}
        {isCopy(part) ? (
          <p className="quiet">The picture is that of another part: look at the part itself.</p>
        ) : (
          <details>
            <summary>Review {title}</summary>
            <ReviewForm part={part} title={title} sending={sending} send={send} />
          </details>
        )}
      </div>
    </li>
  );
}

/** Whether its image has the bytes of another part's: a verdict would be one on that part. */
function isCopy(part: Part): boolean {
  return part.p_defect === null && (part.reason ?? "").startsWith("same bytes as ");
}

function facts(part: Part): string {
  return [
    part.day,
    part.lot ? `lot ${part.lot}` : null,
    part.p_defect === null ? "no score" : `p(defect) ${part.p_defect.toFixed(3)}${byModel(part)}`,
    part.defect_type || null,
    part.area === null ? null : `${percent(part.area)} of the image`,
    part.regions?.some((region) => region.weak) ? "outlined by a model of weak masks" : null,
  ]
    .filter((fact) => fact !== null)
    .join(" · ");
}

function byModel({ calibrated }: Part): string {
  const alone = Object.entries(calibrated ?? {}).map(([model, p]) => `${model} ${p.toFixed(3)}`);
  return alone.length > 1 ? ` (${alone.join(", ")})` : "";
}

function Thumbnail({ address, title }: { address: string; title: string }) {
  const [missing, setMissing] = useState(false);
  if (missing) return <p className="thumbnail empty">Picture not available</p>;
  return (
    <a className="thumbnail" href={address} target="_blank" rel="noreferrer">
      <img src={address} alt={`Picture of ${title}`} loading="lazy" onError={() => setMissing(true)} />
    </a>
  );
}
