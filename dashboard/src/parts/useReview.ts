import { useState } from "react";

import { ApiError, postReview } from "../api/client";
import type { Review } from "../api/documents";

export type Sending =
  | { state: "open" | "sending" | "sent" }
  | { state: "failed"; message: string; unauthorised: boolean };

const NAME_KEY = "loupe.reviewer";
const TOKEN_KEY = "loupe.token";

/** The name that was last used in this browser. */
export function reviewerName(): string {
  return localStorage.getItem(NAME_KEY) ?? "";
}

/** The access token of this browser tab; forgotten when the tab is closed. */
export function accessToken(): string {
  return sessionStorage.getItem(TOKEN_KEY) ?? "";
}

export function useReview(line: string): [Sending, (review: Review, token: string) => Promise<void>] {
  const [sending, setSending] = useState<Sending>({ state: "open" });

  const send = async (review: Review, token: string): Promise<void> => {
    setSending({ state: "sending" });
    try {
      await postReview(line, review, token);
      localStorage.setItem(NAME_KEY, review.by);
      if (token !== "") sessionStorage.setItem(TOKEN_KEY, token);
      setSending({ state: "sent" });
    } catch (error) {
      const unauthorised = error instanceof ApiError && error.status === 401;
      setSending({ state: "failed", message: error instanceof Error ? error.message : String(error), unauthorised });
    }
  };
  return [sending, send];
}
