import { afterEach, expect, test, vi } from "vitest";

import { champion } from "../test/documents";
import { ApiError, Unreachable, read, reportAddress } from "./client";
import { lineAnswer, linesAnswer } from "./documents";
import { text } from "./shape";

afterEach(() => vi.unstubAllGlobals());

const never = new AbortController().signal;

test("a document of the wrong shape names the field that is wrong", () => {
  const broken = { lines: [{ ...champion, night: { ...champion.night, fail: "3" } }] };
  expect(() => linesAnswer(broken, "lines")).toThrow('lines.lines[0].night.fail is "3"; expected a number');
});

test("fields that the dashboard does not know are ignored and optional ones may be missing", () => {
  const answer = lineAnswer({ line: { ...champion, later: 1 }, night: null }, "line");
  expect(answer.run).toBeNull();
  expect(answer.line).not.toHaveProperty("later");
});

test("alerts may be a number or the alerts themselves", () => {
  expect(linesAnswer({ lines: [{ ...champion, alerts: [{}, {}] }] }, "lines")[0]?.alerts).toBe(2);
});

test("a spread configuration counts as dealt days, null does not", () => {
  expect(linesAnswer({ lines: [{ ...champion, spread: { days: 7 } }] }, "lines")[0]?.spread).toBe(true);
  expect(linesAnswer({ lines: [{ ...champion, spread: null }] }, "lines")[0]?.spread).toBe(false);
});

test("report paths lead below /reports and nowhere else", () => {
  expect(reportAddress("demo/evaluate/ab.html")).toBe("./reports/demo/evaluate/ab.html");
  expect(reportAddress("reports/demo/evaluate/ab.html")).toBe("./reports/demo/evaluate/ab.html");
  expect(reportAddress("../secrets")).toBeNull();
  expect(reportAddress("javascript:alert(1)")).toBe("./reports/javascript%3Aalert(1)");
  expect(reportAddress(null)).toBeNull();
});

test("an error answer keeps the server's own message", async () => {
  const body = JSON.stringify({ error: { code: "unknown_line", message: "no line named x" } });
  vi.stubGlobal("fetch", () => Promise.resolve(new Response(body, { status: 404 })));
  const failure = await read("./v1/lines/x", text, never).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(ApiError);
  expect(failure).toMatchObject({ status: 404, message: "no line named x" });
});

test("a refused connection is told apart from an error answer", async () => {
  vi.stubGlobal("fetch", () => Promise.reject(new TypeError("Failed to fetch")));
  await expect(read("./v1/lines", text, never)).rejects.toBeInstanceOf(Unreachable);
});
