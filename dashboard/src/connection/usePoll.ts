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
  path: string;
}

/** GET `path` now and every 15 seconds. `guard` must be the same function on every render. */
export function usePoll<T>(path: string, guard: Guard<T>): Poll<T> {
  const [known, setKnown] = useState<Known<T>>({ path, data: undefined, error: undefined });

  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;

    const ask = async (): Promise<void> => {
      try {
        const data = await read(path, guard, stop.signal);
        if (stop.signal.aborted) return;
        setKnown({ path, data, error: undefined });
        connection.succeeded(path);
      } catch (thrown) {
        if (stop.signal.aborted) return;
        const error = thrown instanceof Error ? thrown : new Error(String(thrown));
        setKnown((before) => ({ path, data: before.path === path ? before.data : undefined, error }));
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
  }, [path, guard]);

  return known.path === path ? known : { data: undefined, error: undefined };
}
