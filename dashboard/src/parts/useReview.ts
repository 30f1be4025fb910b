import { useState } from "react";

import { postReview } from "../api/client";
import type { Review } from "../api/documents";

export type Sending = { state: "open" | "sending" | "sent" } | { state: "failed"; message: string };

const NAME_KEY = "loupe.reviewer";

/** The name that was last used on this machine. */
export function reviewerName(): string {
  return localStorage.getItem(NAME_KEY) ?? "";
}

export function useReview(line: string): [Sending, (review: Review) => Promise<void>] {
  const [sending, setSending] = useState<Sending>({ state: "open" });

  const send = async (review: Review): Promise<void> => {
    setSending({ state: "sending" });
    try {
      await postReview(line, review);
      localStorage.setItem(NAME_KEY, review.by);
      setSending({ state: "sent" });
    } catch (error) {
      setSending({ state: "failed", message: error instanceof Error ? error.message : String(error) });
    }
  };
  return [sending, send];
}
