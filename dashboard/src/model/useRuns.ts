import { linePath } from "../api/client";
import { runsAnswer } from "../api/documents";
import type { Run } from "../api/documents";
import { usePoll } from "../connection/usePoll";
import type { Poll } from "../connection/usePoll";

export function useRuns(line: string): Poll<Run[]> {
  return usePoll(linePath(line, "/runs"), runsAnswer);
}
