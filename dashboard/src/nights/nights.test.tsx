import { render, screen, within } from "@testing-library/react";
import { expect, test } from "vitest";

import { night } from "../test/documents";
import { fakeApi } from "../test/fakeApi";
import { Nights } from "./Nights";

test("nights show as bars and as a table, with whether their counts agree", async () => {
  fakeApi({
    "/v1/lines/demo/nights": {
      items: [
        { ...night, reconciled: false },
        { ...night, day: "2026-03-03", images: 50, pass: 50, fail: 0, review: 0 },
      ],
    },
  });
  render(<Nights line="demo" />);
  expect(await screen.findByRole("img", { name: "2026-03-03: 50 pass, 0 review, 0 fail" })).toBeTruthy();
  expect(screen.getByText("not reconciled", { exact: false }).closest("li")?.textContent).toContain("2026-03-04");
  const rows = within(screen.getByRole("table", { hidden: true })).getAllByRole("row", { hidden: true });
  expect(rows.map((row) => row.textContent)).toEqual([
    "DayImagesPassReviewFailBundleReconciled",
    "2026-03-0410080155" + "01234567no",
    "2026-03-03505000" + "01234567yes",
  ]);
});
