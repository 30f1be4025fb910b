import { linePath } from "../api/client";
import { windowsAnswer } from "../api/documents";
import type { DriftWindow } from "../api/documents";
import { usePoll } from "../connection/usePoll";
import type { Poll } from "../connection/usePoll";

export function useDrift(line: string): Poll<DriftWindow[]> {
  return usePoll(linePath(line, "/windows"), windowsAnswer);
}
