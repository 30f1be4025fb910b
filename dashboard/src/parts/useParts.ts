import { linePath } from "../api/client";
import { partsAnswer } from "../api/documents";
import type { Part, Verdict } from "../api/documents";
import { usePoll } from "../connection/usePoll";
import type { Poll } from "../connection/usePoll";

export type Filter = Exclude<Verdict, "pass"> | "all";

export const PARTS_SHOWN = 48;

/** The newest parts that did not pass. */
export function useParts(line: string, filter: Filter): Poll<Part[]> {
  const query = new URLSearchParams({ limit: String(PARTS_SHOWN) });
  if (filter !== "all") query.set("verdict", filter);
  return usePoll(linePath(line, `/parts?${query.toString()}`), partsAnswer);
}
