import { linePath } from "../api/client";
import { alertsAnswer } from "../api/documents";
import type { Alert } from "../api/documents";
import { usePoll } from "../connection/usePoll";
import type { Poll } from "../connection/usePoll";

export function useAlerts(line: string): Poll<Alert[]> {
  return usePoll(linePath(line, "/alerts"), alertsAnswer);
}
