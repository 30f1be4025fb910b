import { render, screen } from "@testing-library/react";
import { expect, test } from "vitest";

import { champion } from "../test/documents";
import { fakeApi } from "../test/fakeApi";
import { LinesPage } from "./LinesPage";

async function show(...lines: unknown[]) {
  fakeApi({ "/v1/lines": { lines } });
  render(<LinesPage />);
  await screen.findAllByRole("listitem");
}

test("a card shows the night, the champion, the drift and the alerts", async () => {
  await show(champion);
  expect(screen.getByRole("img", { name: /80 pass, 15 review, 5 fail/ })).toBeTruthy();
  expect(screen.getByText("01234567")).toBeTruthy();
  expect(screen.getByText("drift alarm", { exact: false })).toBeTruthy();
  expect(screen.getByText("2 open alerts", { exact: false })).toBeTruthy();
});

test("a line without a champion says that every part is held for review", async () => {
  await show({ ...champion, bundle: null });
  expect(screen.getByText(/every part is held for review/)).toBeTruthy();
});

test("a line without a night and without drift says so", async () => {
  await show({ ...champion, night: null, severity: null, alerts: 0 });
  expect(screen.getByText("No night yet.")).toBeTruthy();
  expect(screen.getByText(/drift not measured/)).toBeTruthy();
  expect(screen.getByText(/no open alerts/)).toBeTruthy();
});

test("a line whose days are dealt says so", async () => {
  await show({ ...champion, spread: true });
  expect(screen.getByText("Days are dealt, not captured.")).toBeTruthy();
});

test("no line at all is a state of its own", async () => {
  fakeApi({ "/v1/lines": { lines: [] } });
  render(<LinesPage />);
  expect(await screen.findByText(/No line yet/)).toBeTruthy();
});
