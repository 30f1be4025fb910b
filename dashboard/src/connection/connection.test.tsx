import { act, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { list, text } from "../api/shape";
import { fakeApi } from "../test/fakeApi";
import { Polled } from "./Polled";
import { StaleNote } from "./StaleNote";
import { POLL_MS, usePoll } from "./usePoll";

const names = list(text);

function Names() {
  const poll = usePoll("./v1/names", names);
  return (
    <>
      <StaleNote />
      <Polled poll={poll} what="the names">
        {(data) => <p>{data.join(", ")}</p>}
      </Polled>
    </>
  );
}

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

async function pass(ms: number) {
  await act(() => vi.advanceTimersByTimeAsync(ms));
}

test("says that it is reading before the first answer", () => {
  fakeApi({ "/v1/names": ["a"] });
  render(<Names />);
  expect(screen.getByText("Reading the names…")).toBeTruthy();
});

test("asks again every 15 seconds and shows the new answer", async () => {
  const api = fakeApi({ "/v1/names": ["a"] });
  render(<Names />);
  await pass(0);
  api.routes["/v1/names"] = ["b"];
  await pass(POLL_MS - 1);
  expect(screen.getByText("a")).toBeTruthy();
  await pass(1);
  expect(screen.getByText("b")).toBeTruthy();
});

test("keeps the last data with a stale note while the API is away, and drops the note when it is back", async () => {
  const api = fakeApi({ "/v1/names": ["a"] });
  render(<Names />);
  await pass(0);
  api.down = true;
  await pass(POLL_MS);
  expect(screen.getByText("a")).toBeTruthy();
  expect(screen.getByRole("status").textContent).toContain("The API does not answer. Stale: what you see was read at");
  api.down = false;
  await pass(POLL_MS);
  expect(screen.getByRole("status").textContent).toBe("");
});

test("with no data at all, says that the API is down", async () => {
  fakeApi({}).down = true;
  render(<Names />);
  await pass(0);
  expect(screen.getByText("Could not read the names: The API does not answer")).toBeTruthy();
  expect(screen.getByRole("status").textContent).toContain("Nothing could be read yet");
});
