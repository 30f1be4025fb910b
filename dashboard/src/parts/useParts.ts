import { linePath } from "../api/client";
import { partsAnswer } from "../api/documents";
import type { Part, Verdict } from "../api/documents";
import { usePoll } from "../connection/usePoll";
import type { Poll } from "../connection/usePoll";

export type Filter = Exclude<Verdict, "pass"> | "all";

/** How many parts are shown at first, and how many more at a time. */
export const PARTS_STEP = 48;
// The most that the API gives.
export const PARTS_MOST = 1000;

/** The newest parts that did not pass, at most `limit`; of one day where `day` is not empty. */
export function useParts(line: string, filter: Filter, day: string, limit: number): Poll<Part[]> {
  const query = new URLSearchParams({ limit: String(Math.min(limit, PARTS_MOST)) });
  if (day !== "") query.set("day", day);
  if (filter !== "all") query.set("verdict", filter);
  return usePoll(linePath(line, `/parts?${query.toString()}`), partsAnswer, `${line} ${filter} ${day}`);
}
