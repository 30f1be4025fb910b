import { useSyncExternalStore } from "react";

export type Route = { page: "lines" } | { page: "line"; line: string };

/** `#/` is every line, `#/lines/<name>` one of them; anything else leads to every line. */
export function routeOf(hash: string): Route {
  const name = /^#\/lines\/([^/]+)$/.exec(hash)?.[1];
  if (name === undefined) return { page: "lines" };
  try {
    return { page: "line", line: decodeURIComponent(name) };
  } catch {
    return { page: "lines" };
  }
}

export function lineHref(line: string): string {
  return `#/lines/${encodeURIComponent(line)}`;
}

function subscribe(listener: () => void): () => void {
  window.addEventListener("hashchange", listener);
  return () => window.removeEventListener("hashchange", listener);
}

export function useRoute(): Route {
  return routeOf(useSyncExternalStore(subscribe, () => window.location.hash));
}
