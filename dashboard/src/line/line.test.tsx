import { render, screen } from "@testing-library/react";
import { expect, test } from "vitest";

import { champion } from "../test/documents";
import { fakeApi } from "../test/fakeApi";
import { LinePage } from "./LinePage";

const nothing = { items: [] };

test("a line that has only been declared shows an honest state in every section", async () => {
  fakeApi({
    "/v1/lines/demo": { line: { ...champion, bundle: null, spread: { days: 5 } }, night: null, run: null },
    "/v1/lines/demo/nights": nothing,
    "/v1/lines/demo/runs": nothing,
    "/v1/lines/demo/windows": nothing,
    "/v1/lines/demo/alerts": nothing,
    "/v1/lines/demo/parts": nothing,
  });
  render(<LinePage name="demo" />);
  expect(await screen.findByText(/No champion: every part is held for review/)).toBeTruthy();
  expect(await screen.findByText(/No night yet/)).toBeTruthy();
  expect(await screen.findByText(/No model has been promoted yet/)).toBeTruthy();
  expect(await screen.findByText(/Drift has not been measured yet/)).toBeTruthy();
  expect(await screen.findByText(/No alerts/)).toBeTruthy();
  expect(await screen.findByText(/No part is held or failed/)).toBeTruthy();
  expect(screen.getByText("Days are dealt, not captured.")).toBeTruthy();
  expect(screen.queryByRole("link", { name: /Validation/ })).toBeNull();
});

test("the validation of a line is one click away", async () => {
  const validation = "demo/validate/index.html";
  fakeApi({ "/v1/lines/demo": { line: champion, night: null, run: null, validation } });
  render(<LinePage name="demo" />);
  const link = await screen.findByRole("link", { name: /Validation of the images/ });
  expect(link.getAttribute("href")).toBe("./reports/demo/validate/index.html");
});

test("one section that cannot be read does not take the others down", async () => {
  fakeApi({ "/v1/lines/demo": { line: champion, night: null, run: null }, "/v1/lines/demo/alerts": nothing });
  render(<LinePage name="demo" />);
  expect(await screen.findByText(/Could not read the nights/)).toBeTruthy();
  expect(await screen.findByText(/No alerts/)).toBeTruthy();
});
