import { linePath } from "../api/client";
import { nightsAnswer } from "../api/documents";
import type { Night } from "../api/documents";
import { usePoll } from "../connection/usePoll";
import type { Poll } from "../connection/usePoll";

export function useNights(line: string): Poll<Night[]> {
  return usePoll(linePath(line, "/nights"), nightsAnswer);
}
