import { render, screen, within } from "@testing-library/react";
import { expect, test } from "vitest";

import { driftWindow } from "../test/documents";
import { fakeApi } from "../test/fakeApi";
import { Drift } from "./Drift";
import { short } from "./DriftTests";

test("a window shows its severity, and its p-values against the thresholds, drifted tests first", async () => {
  const quiet = { ...driftWindow, day: "2026-03-03", severity: "none" };
  fakeApi({ "/v1/lines/demo/windows": { items: [driftWindow, quiet] } });
  render(<Drift line="demo" />);
  expect((await screen.findAllByText(/1 of 2 tests drifted, 100 images/)).length).toBe(2);
  expect(screen.getByText(/drift alarm/)).toBeTruthy();
  expect(screen.getByText(/no drift/)).toBeTruthy();
  const region = screen.getByLabelText("Tests of 2026-03-04, image");
  const rows = within(region).getAllByRole("row", { hidden: true });
  expect(rows[1]?.textContent).toBe("brightness0.9002.4 sd1.0e-5≤ 0.00100■ drifted");
});

test("a window links to its report", async () => {
  fakeApi({ "/v1/lines/demo/windows": { items: [driftWindow] } });
  render(<Drift line="demo" />);
  const link = await screen.findByRole("link", { name: /Drift report of 2026-03-04, image/, hidden: true });
  expect(link.getAttribute("href")).toBe("./reports/demo/drift/2026-03-04.html");
});

test("a shift that the server cut off is not shown as its size", async () => {
  const tests = driftWindow.tests.map((one) => ({ ...one, effect: 99 }));
  fakeApi({ "/v1/lines/demo/windows": { items: [{ ...driftWindow, tests }] } });
  render(<Drift line="demo" />);
  expect((await screen.findAllByText("≥ 99 sd")).length).toBe(tests.length);
});

test("tiny p-values are not rounded to nothing", () => {
  expect(short(3.2e-12)).toBe("3.2e-12");
  expect(short(0)).toBe("0");
  expect(short(null)).toBe("none");
});

test("a night with too few images is not tested, which is not the same as no drift", async () => {
  const note = "too few images: 12 of 30";
  const untested = { ...driftWindow, severity: "none", images: 12, note, tests: [], report: "" };
  fakeApi({ "/v1/lines/demo/windows": { items: [untested] } });
  render(<Drift line="demo" />);
  expect((await screen.findByText("too few images: 12 of 30")).closest("p")?.textContent).toContain("not tested");
  expect(screen.queryByText(/no drift/)).toBeNull();
});

test("a test that Holm's correction gives no level to shows none, not a threshold of 0", async () => {
  fakeApi({ "/v1/lines/demo/windows": { items: [driftWindow] } });
  render(<Drift line="demo" />);
  const row = (await screen.findByText("contrast")).closest("tr");
  expect(row?.textContent).toBe("contrast0.1000.1 sd0.400not met● same");
});

test("older days are folded away", async () => {
  const days = [9, 8, 7, 6, 5, 4, 3].map((day) => ({ ...driftWindow, day: `2026-03-0${day}` }));
  fakeApi({ "/v1/lines/demo/windows": { items: days } });
  render(<Drift line="demo" />);
  expect(await screen.findByText("Earlier days (2)")).toBeTruthy();
  expect(screen.getByText("2026-03-05").closest("details")).toBeNull();
  expect(screen.getByText("2026-03-04").closest("details")).not.toBeNull();
});

test("what drifted on the newest day is open, the rest is folded", async () => {
  const kinds = ["model", "image", "embedding"].map((kind) => ({
    ...driftWindow,
    kind,
    severity: kind === "image" ? "alarm" : "none",
  }));
  fakeApi({ "/v1/lines/demo/windows": { items: kinds } });
  render(<Drift line="demo" />);
  const shown = await screen.findAllByText(/^(image|embedding|model)$/);
  expect(shown.map((kind) => [kind.textContent, kind.closest("details")?.open])).toEqual([
    ["image", true],
    ["embedding", false],
    ["model", false],
  ]);
});
