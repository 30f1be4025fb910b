import { render, screen } from "@testing-library/react";
import { expect, test } from "vitest";

import { SeverityBadge } from "./Badge";
import { percent } from "./numbers";
import { VerdictBar } from "./VerdictBar";

function widths(container: HTMLElement): (string | null)[] {
  return [...container.querySelectorAll("rect[fill]")].map((rect) => rect.getAttribute("width"));
}

test("the bar's lengths are shares of the night", () => {
  const { container } = render(<VerdictBar counts={{ pass: 80, fail: 5, review: 15 }} label="Last night" />);
  expect(widths(container)).toEqual(["80%", "15%", "5%"]);
  expect(screen.getByRole("img", { name: "Last night: 80 pass, 15 review, 5 fail" })).toBeTruthy();
});

test("a smaller night has a shorter bar, and an empty one none", () => {
  const small = render(<VerdictBar counts={{ pass: 10, fail: 0, review: 0 }} full={40} label="Small" />);
  expect(widths(small.container)[0]).toBe("25%");
  const empty = render(<VerdictBar counts={{ pass: 0, fail: 0, review: 0 }} label="Empty" />);
  expect(widths(empty.container)).toEqual(["0%", "0%", "0%"]);
});

test("drift that was never measured is not shown as no drift", () => {
  render(<SeverityBadge severity={null} />);
  expect(screen.getByText(/drift not measured/)).toBeTruthy();
});

test("a percentage never rounds a few to none, nor most to all", () => {
  expect([0, 0.0001, 0.021, 0.15, 0.5, 0.953, 0.9999, 1].map(percent)).toEqual([
    "0 %", "<0.1 %", "2.1 %", "15 %", "50 %", "95.3 %", ">99.9 %", "100 %",
  ]);
});
