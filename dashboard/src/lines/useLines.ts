import { linesAnswer } from "../api/documents";
import type { LineAtAGlance } from "../api/documents";
import { usePoll } from "../connection/usePoll";
import type { Poll } from "../connection/usePoll";

export function useLines(): Poll<LineAtAGlance[]> {
  return usePoll("./v1/lines", linesAnswer);
}
