import { useState } from "react";

import { ApiError, postReview } from "../api/client";
import type { Review } from "../api/documents";
import { remember } from "./remembered";

export type Sending =
  | { state: "open" | "sending" }
  | { state: "sent"; verdict: Review["verdict"] }
  | { state: "failed"; message: string; unauthorised: boolean };

export type Send = (review: Review, token: string) => Promise<void>;

export function useReview(line: string): [Sending, Send] {
  const [sending, setSending] = useState<Sending>({ state: "open" });

  const send: Send = async (review, token) => {
    setSending({ state: "sending" });
    try {
      await postReview(line, review, token);
      remember(review.by, token);
      setSending({ state: "sent", verdict: review.verdict });
    } catch (error) {
      const unauthorised = error instanceof ApiError && error.status === 401;
      setSending({ state: "failed", message: error instanceof Error ? error.message : String(error), unauthorised });
    }
  };
  return [sending, send];
}
