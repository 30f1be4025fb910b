import { linePath } from "../api/client";
import { lineAnswer } from "../api/documents";
import type { LineInDetail } from "../api/documents";
import { usePoll } from "../connection/usePoll";
import type { Poll } from "../connection/usePoll";

export function useLine(name: string): Poll<LineInDetail> {
  return usePoll(linePath(name), lineAnswer);
}
