import { render, screen, within } from "@testing-library/react";
import { expect, test } from "vitest";

import { runsAnswer } from "../api/documents";
import { run } from "../test/documents";
import { fakeApi } from "../test/fakeApi";
import { Model } from "./Model";
import { byModel } from "./metrics";

function known(items: unknown[]) {
  fakeApi({ "/v1/lines/demo/runs": { items } });
  return runsAnswer({ items }, "runs");
}

test("the fused verdict comes first and metrics keep the order of the field", () => {
  const [first] = known([run]);
  const order = byModel(first?.metrics ?? {}).map(([model, metrics]) => [model, metrics.map(({ name }) => name)]);
  expect(order).toEqual([
    ["fused", ["escape", "auroc"]],
    ["classifier", ["auroc"]],
  ]);
});

test("a metric without an interval says that there are too few samples and gets no whisker", () => {
  const [first] = known([run]);
  render(<Model line="demo" run={first ?? null} />);
  const escape = screen.getByRole("img", { name: /escape.*2.0 %, 95 % interval too few samples, 12 test groups/ });
  expect(escape.querySelectorAll(".span")).toHaveLength(0);
  const auroc = screen.getByRole("img", { name: "AUROC: 0.970, 95 % interval 0.930 to 0.990, 40 test groups" });
  expect(auroc.querySelectorAll(".span")).toHaveLength(3);
});

test("the table and the plot give the number of test groups", () => {
  const [first] = known([run]);
  render(<Model line="demo" run={first ?? null} />);
  const row = within(screen.getByRole("table", { hidden: true })).getAllByRole("row", { hidden: true })[1];
  expect(row?.textContent).toBe("fusedescape: defective images passed2.0 %too few samples12");
  expect(screen.getByText("n 12")).toBeTruthy();
});

test("warnings stand in plain sight, beside the report", () => {
  const [first] = known([run]);
  render(<Model line="demo" run={first ?? null} />);
  expect(screen.getByText(/started from random weights/).closest("details")).toBeNull();
  expect(screen.getByRole("link", { name: /Evaluation report/ }).getAttribute("href")).toBe(
    "./reports/demo/evaluate/0123456789abcdef.html",
  );
});

test("a bundle that was rolled back is not taken for one that was only replaced", async () => {
  const [first] = known([run, { ...run, bundle: "ffff000011112222", decision: "rolled_back", reasons: ["more escapes"] }]);
  render(<Model line="demo" run={first ?? null} />);
  expect((await screen.findByText("more escapes")).closest("li")?.textContent).toContain("then rolled back");
});

test("a challenger that was not promoted is shown with the reason", async () => {
  const [first] = known([run, { ...run, bundle: "ffff000011112222", decision: "kept", reasons: ["more escapes"] }]);
  render(<Model line="demo" run={first ?? null} />);
  expect((await screen.findByText("more escapes")).closest("li")?.textContent).toContain("the champion was kept");
});
