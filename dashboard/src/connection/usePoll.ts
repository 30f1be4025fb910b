import { useEffect, useState } from "react";

import { read } from "../api/client";
import type { Guard } from "../api/shape";
import { connection } from "./connection";

export const POLL_MS = 15_000;

export interface Poll<T> {
  /** The last good answer; kept while the API is away. */
  data: T | undefined;
  /** Why the latest attempt failed. */
  error: Error | undefined;
}

interface Known<T> extends Poll<T> {
  subject: string;
}

/**
 * GET `path` now and every 15 seconds. `guard` must be the same function on every render.
 *
 * Data stay in sight while another path of the same `subject` is read, such as more of one list.
 */
export function usePoll<T>(path: string, guard: Guard<T>, subject: string = path): Poll<T> {
  const [known, setKnown] = useState<Known<T>>({ subject, data: undefined, error: undefined });

  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;

    const ask = async (): Promise<void> => {
      try {
        const data = await read(path, guard, stop.signal);
        if (stop.signal.aborted) return;
        setKnown({ subject, data, error: undefined });
        connection.succeeded(path);
      } catch (thrown) {
        if (stop.signal.aborted) return;
        const error = thrown instanceof Error ? thrown : new Error(String(thrown));
        setKnown((before) => ({ subject, data: before.subject === subject ? before.data : undefined, error }));
        connection.failed(path, error);
      }
      timer = setTimeout(() => void ask(), POLL_MS);
    };

    void ask();
    return () => {
      stop.abort();
      clearTimeout(timer);
      connection.forget(path);
    };
  }, [path, guard, subject]);

  return known.subject === subject ? known : { data: undefined, error: undefined };
}
