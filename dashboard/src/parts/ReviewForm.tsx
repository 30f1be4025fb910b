import { useState } from "react";
import type { FormEvent } from "react";

import type { Part } from "../api/documents";
import { accessToken, reviewerName } from "./remembered";
import type { Send, Sending } from "./useReview";

// What the server accepts as a name; it becomes part of a document's id.
const NAME = "(?=.*\\S)[\\p{L}\\p{N}_.@+ \\-]{1,64}";

interface Props {
  part: Part;
  title: string;
  sending: Sending;
  send: Send;
}

/** Takes a person's verdict on a part. */
export function ReviewForm({ part, title, sending, send }: Props) {
  const [verdict, setVerdict] = useState<"pass" | "fail" | null>(null);
  const [asksForToken, setAsksForToken] = useState(false);
  if (sending.state === "failed" && sending.unauthorised && !asksForToken) setAsksForToken(true);

  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    if (verdict === null) return;
    const fields = new FormData(event.currentTarget);
    const value = (name: string): string => String(fields.get(name) ?? "").trim();
    const review = {
      sha256: part.sha256,
      object: part.object,
      verdict,
      defect_type: verdict === "fail" ? value("defect_type") : "",
      by: value("by"),
      comment: value("comment"),
    };
    void send(review, value("token") || accessToken());
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
          <input name="defect_type" defaultValue={part.defect_type ?? ""} maxLength={64} />
        </label>
      )}
      <label>
        Your name
        <input
          name="by"
          required
          maxLength={64}
          autoComplete="name"
          defaultValue={reviewerName()}
          pattern={NAME}
          title="letters, digits, spaces and . _ @ + -"
        />
      </label>
      <label>
        Comment (optional)
        <textarea name="comment" rows={2} maxLength={2000} />
      </label>
      {asksForToken && (
        <label>
          Access token (ask whoever runs this server)
          <input name="token" type="password" autoComplete="off" required />
        </label>
      )}
      <button type="submit" disabled={sending.state === "sending"}>
        Send verdict
      </button>
      <p role="status">{words(sending, part)}</p>
    </form>
  );
}

function words(sending: Sending, part: Part): string {
  switch (sending.state) {
    case "open":
      return "";
    case "sending":
      return "Sending…";
    case "sent":
      return (part.reason ?? "").startsWith("quarantined: ")
        ? "● Stored. The image is quarantined: it becomes a label only if the image is accepted later."
        : "● Stored. It becomes a label at the next review run.";
    case "failed":
      return `■ Not stored: ${sending.message}`;
  }
}
