import { render, screen } from "@testing-library/react";
import { expect, test } from "vitest";

import { alert } from "../test/documents";
import { fakeApi } from "../test/fakeApi";
import { Alerts } from "./Alerts";

test("an alert says how severe it is, what happened and what was done", async () => {
  fakeApi({ "/v1/lines/demo/alerts": { items: [alert] } });
  render(<Alerts line="demo" />);
  const row = await screen.findByRole("listitem");
  expect(row.textContent).toContain("■ alarm The light has changed");
  expect(row.textContent).toContain("2026-03-04 · retraining was requested");
});
