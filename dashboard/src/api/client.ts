/** The calls of the HTTP API. Addresses are relative, so the dashboard also works below a prefix. */

import type { Review } from "./documents";
import type { Guard } from "./shape";

const ANSWER_WITHIN_MS = 10_000;

/** No answer came: the server is down, or the network is. */
export class Unreachable extends Error {
  constructor() {
    super("The API does not answer");
    this.name = "Unreachable";
  }
}

/** The server answered with an error. */
export class ApiError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = "ApiError";
    this.status = status;
  }
}

export function linePath(line: string, rest = ""): string {
  return `./v1/lines/${encodeURIComponent(line)}${rest}`;
}

export function imageAddress(line: string, sha256: string): string {
  return linePath(line, `/images/${encodeURIComponent(sha256)}`);
}

/** The address of an HTML report; null for a path that could lead elsewhere. */
export function reportAddress(report: string | null): string | null {
  const path = report?.replace(/^\/+/, "").replace(/^reports\//, "") ?? "";
  const steps = path.split("/");
  if (path === "" || steps.includes("..")) return null;
  return `./reports/${steps.map(encodeURIComponent).join("/")}`;
}

/** GET `path` and guard the answer; raises Unreachable, ApiError or ShapeError. */
export async function read<T>(path: string, guard: Guard<T>, signal: AbortSignal): Promise<T> {
  const answer = await call(path, { signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_WITHIN_MS)]) });
  return guard(await answer.json(), path);
}

/** POST a person's verdict; raises Unreachable or ApiError. `token` is for servers that ask for one. */
export async function postReview(line: string, review: Review, token: string): Promise<void> {
  const headers: Record<string, string> = { "Content-Type": "application/json" };
  if (token !== "") headers.Authorization = `Bearer ${token}`;
  await call(linePath(line, "/reviews"), {
    method: "POST",
    headers,
    body: JSON.stringify(review),
    signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
  });
}

async function call(path: string, init: RequestInit): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, { ...init, cache: "no-store" });
  } catch {
    throw new Unreachable();
  }
  if (!answer.ok) throw new ApiError(answer.status, await messageOf(answer));
  return answer;
}

async function messageOf(answer: Response): Promise<string> {
  try {
    const body = (await answer.json()) as { error?: { message?: unknown } } | null;
    if (typeof body?.error?.message === "string") return body.error.message;
  } catch {
    // A proxy in between answers HTML; its status says enough.
  }
  return `HTTP status ${answer.status}`;
}
