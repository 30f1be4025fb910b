/** What the polls know together about the API: which of them fail, and when one last succeeded. */

import { ApiError } from "../api/client";

export interface Connection {
  failure: Error | null;
  lastAnswer: number | null;
}

const failures = new Map<string, Error>();
const listeners = new Set<() => void>();
let snapshot: Connection = { failure: null, lastAnswer: null };

function publish(lastAnswer: number | null): void {
  snapshot = { failure: failures.values().next().value ?? null, lastAnswer };
  for (const listener of listeners) listener();
}

export const connection = {
  subscribe(listener: () => void): () => void {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
  read: (): Connection => snapshot,
  succeeded(path: string): void {
    failures.delete(path);
    publish(Date.now());
  },
  failed(path: string, error: Error): void {
    // "Not there" is an answer about one thing; the section that asked says so.
    if (error instanceof ApiError && error.status === 404) return;
    failures.set(path, error);
    publish(snapshot.lastAnswer);
  },
  forget(path: string): void {
    if (failures.delete(path)) publish(snapshot.lastAnswer);
  },
  reset(): void {
    failures.clear();
    publish(null);
  },
};
