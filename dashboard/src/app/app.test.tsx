import { act, fireEvent, render, screen } from "@testing-library/react";
import { expect, test } from "vitest";

import { champion, night, run } from "../test/documents";
import { fakeApi } from "../test/fakeApi";
import { App } from "./App";
import { routeOf } from "./useRoute";

test("a hash names a page, and a broken one leads home", () => {
  expect(routeOf("#/lines/magnetic%20tile")).toEqual({ page: "line", line: "magnetic tile" });
  expect(routeOf("")).toEqual({ page: "lines" });
  expect(routeOf("#/lines/%E0")).toEqual({ page: "lines" });
  expect(routeOf("#/elsewhere")).toEqual({ page: "lines" });
});

test("following a line's link opens its page and moves the focus to its heading", async () => {
  fakeApi({
    "/v1/lines": { lines: [champion] },
    "/v1/lines/demo": { line: champion, night, run },
  });
  render(<App />);
  const link = await screen.findByRole("link", { name: "Demo line" });
  await act(async () => {
    fireEvent.click(link);
    window.location.hash = link.getAttribute("href") ?? "";
    window.dispatchEvent(new HashChangeEvent("hashchange"));
  });
  const heading = await screen.findByRole("heading", { level: 1, name: "Demo line" });
  expect(document.activeElement).toBe(heading);
  expect(document.title).toBe("Demo line · Loupe");
});

test("a line that does not exist is said to be unknown", async () => {
  fakeApi({});
  window.location.hash = "#/lines/nowhere";
  render(<App />);
  expect(await screen.findByText(/There is no line named “nowhere”/)).toBeTruthy();
  expect(screen.getByRole("status").textContent).toBe("");
});
