import { useState } from "react";
import type { FormEvent } from "react";

import type { Part } from "../api/documents";
import type { Sending } from "./useReview";
import { reviewerName, useReview } from "./useReview";

interface Props {
  line: string;
  part: Part;
  title: string;
}

/** Takes a person's verdict on a part. */
export function ReviewForm({ line, part, title }: Props) {
  const [sending, send] = useReview(line);
  const [verdict, setVerdict] = useState<"pass" | "fail" | null>(null);

  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    if (verdict === null) return;
    const fields = new FormData(event.currentTarget);
    const value = (name: string): string => String(fields.get(name) ?? "").trim();
    void send({
      sha256: part.sha256,
      verdict,
      defect_type: verdict === "fail" ? value("defect_type") : "",
      by: value("by"),
      comment: value("comment"),
    });
  };

  return (
    <form className="review" onSubmit={submit} aria-label={`Review of ${title}`}>
      <fieldset>
        <legend>Your verdict</legend>
        {(["pass", "fail"] as const).map((choice) => (
          <label key={choice}>
            <input
              type="radio"
              name="verdict"
              value={choice}
              required
              checked={verdict === choice}
              onChange={() => setVerdict(choice)}
            />{" "}
            {choice}
          </label>
        ))}
      </fieldset>
      {verdict === "fail" && (
        <label>
          Kind of defect (optional)
          <input name="defect_type" defaultValue={part.defect_type ?? ""} maxLength={100} />
        </label>
      )}
      <label>
        Your name
        <input name="by" required maxLength={100} autoComplete="name" defaultValue={reviewerName()} pattern=".*\S.*" />
      </label>
      <label>
        Comment (optional)
        <textarea name="comment" rows={2} maxLength={1000} />
      </label>
      <button type="submit" disabled={sending.state === "sending"}>
        Send verdict
      </button>
      <p role="status">{words(sending)}</p>
    </form>
  );
}

function words(sending: Sending): string {
  if (sending.state === "failed") return `■ Not stored: ${sending.message}`;
  return { open: "", sending: "Sending…", sent: "● Stored. It becomes a label at the next review run." }[sending.state];
}
