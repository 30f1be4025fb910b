import { render, screen, within } from "@testing-library/react";
import { expect, test } from "vitest";

import { driftWindow } from "../test/documents";
import { fakeApi } from "../test/fakeApi";
import { Drift, short } from "./Drift";

test("a window shows its severity, and its p-values against the thresholds, drifted tests first", async () => {
  fakeApi({ "/v1/lines/demo/windows": { items: [driftWindow, { ...driftWindow, day: "2026-03-03", severity: "none" }] } });
  render(<Drift line="demo" />);
  expect((await screen.findAllByText(/1 of 2 tests drifted, 100 images/)).length).toBe(2);
  expect(screen.getByText(/drift alarm/)).toBeTruthy();
  expect(screen.getByText(/no drift/)).toBeTruthy();
  const region = screen.getByLabelText("Tests of 2026-03-04, image");
  const rows = within(region).getAllByRole("row", { hidden: true });
  expect(rows[1]?.textContent).toBe("brightness0.9001.0e-50.00100■ drifted");
});

test("a window links to its report", async () => {
  fakeApi({ "/v1/lines/demo/windows": { items: [driftWindow] } });
  render(<Drift line="demo" />);
  const link = await screen.findByText("Drift report of 2026-03-04, image");
  expect(link.getAttribute("href")).toBe("./reports/demo/drift/2026-03-04.html");
});

test("tiny p-values are not rounded to nothing", () => {
  expect(short(3.2e-12)).toBe("3.2e-12");
  expect(short(0)).toBe("0");
  expect(short(null)).toBe("none");
});
