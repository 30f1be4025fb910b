import { fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { expect, test, vi } from "vitest";

import { night, part } from "../test/documents";
import { fakeApi } from "../test/fakeApi";
import { Parts } from "./Parts";

const parts = "/v1/lines/demo/parts";

async function openReview(choice: string) {
  render(<Parts line="demo" />);
  const form = await screen.findByLabelText("Review of P-17, camera top");
  fireEvent.click(within(form).getByLabelText(choice));
  fireEvent.change(within(form).getByLabelText("Your name"), { target: { value: " Ada " } });
  fireEvent.change(within(form).getByLabelText("Comment (optional)"), { target: { value: "dust only" } });
  return form;
}

test("a held part shows its picture, reason and chance of a defect", async () => {
  fakeApi({ [parts]: { items: [part] } });
  render(<Parts line="demo" />);
  const picture = await screen.findByRole("img", { name: "Picture of P-17, camera top" });
  expect(picture.getAttribute("src")).toBe(`./v1/lines/demo/images/${part.sha256}`);
  expect(screen.getByText("between the thresholds")).toBeTruthy();
  const chance = "p(defect) 0.430 (classifier 0.400, anomaly 0.510)";
  expect(screen.getByText(`2026-03-04 · lot L-3 · ${chance} · scratch · 2.1 % of the image`)).toBeTruthy();
});

test("two images of one part and camera are told apart", async () => {
  const other = { ...part, sha256: "cd".repeat(32), object: "day4/p17_dark.png" };
  fakeApi({ [parts]: { items: [part, other] } });
  render(<Parts line="demo" />);
  expect(await screen.findByText("day4/p17.png")).toBeTruthy();
  expect(screen.getByText("day4/p17_dark.png")).toBeTruthy();
});

test("a part of an older night, without the models' own probabilities, is still shown", async () => {
  fakeApi({ [parts]: { items: [{ ...part, calibrated: undefined }] } });
  render(<Parts line="demo" />);
  expect(await screen.findByText(/p\(defect\) 0\.430 · scratch/)).toBeTruthy();
});

test("regions of a segmenter of weak masks are marked, others not", async () => {
  const weak = { ...part, part: "P-18", sha256: "cd".repeat(32), regions: [{ weak: true }] };
  const drawn = { ...part, part: "P-19", sha256: "ef".repeat(32), regions: [{ weak: false }, {}] };
  fakeApi({ [parts]: { items: [part, weak, drawn] } });
  render(<Parts line="demo" />);
  const marked = await screen.findAllByText(/outlined by a model of weak masks/);
  expect(marked.map((one) => one.closest("li")?.querySelector("h3")?.textContent)).toEqual(["P-18, camera top"]);
});

test("a part with another part's image is not judged by it", async () => {
  const copy = { ...part, p_defect: null, reason: "same bytes as top/P-16.png" };
  fakeApi({ [parts]: { items: [copy] } });
  render(<Parts line="demo" />);
  expect(await screen.findByText(/look at the part itself/)).toBeTruthy();
  expect(screen.queryByText(/^Review/)).toBeNull();
});

test("a picture that cannot be loaded is said to be missing", async () => {
  fakeApi({ [parts]: { items: [part] } });
  render(<Parts line="demo" />);
  fireEvent.error(await screen.findByRole("img"));
  expect(screen.getByText("Picture not available")).toBeTruthy();
});

test("the filter asks the API for one verdict", async () => {
  const api = fakeApi({ [parts]: { items: [] } });
  render(<Parts line="demo" />);
  fireEvent.click(await screen.findByLabelText("Failed"));
  expect(await screen.findByText("No part failed.")).toBeTruthy();
  expect(api.asked).toContain("/v1/lines/demo/parts?limit=48&verdict=fail");
});

test("a person's verdict is sent with name and comment", async () => {
  const api = fakeApi({ [parts]: { items: [part] }, "/v1/lines/demo/reviews": { stored: true } });
  const form = await openReview("pass");
  fireEvent.submit(form);
  expect(await screen.findByText(/Stored\./)).toBeTruthy();
  const body = {
    sha256: part.sha256,
    object: part.object,
    verdict: "pass",
    defect_type: "",
    by: "Ada",
    comment: "dust only",
  };
  expect(api.sent).toEqual([{ path: "/v1/lines/demo/reviews", body, authorisation: null }]);
});

test("a verdict on a quarantined image is not said to become a label", async () => {
  const held = { ...part, p_defect: null, reason: "quarantined: contrast" };
  fakeApi({ [parts]: { items: [held] }, "/v1/lines/demo/reviews": { stored: true } });
  fireEvent.submit(await openReview("pass"));
  expect(await screen.findByText(/only if the image is accepted later/)).toBeTruthy();
});

test("a failed part keeps its kind of defect", async () => {
  const api = fakeApi({ [parts]: { items: [part] }, "/v1/lines/demo/reviews": {} });
  fireEvent.submit(await openReview("fail"));
  await waitFor(() => expect(api.sent).toHaveLength(1));
  expect(api.sent[0]?.body).toMatchObject({ verdict: "fail", defect_type: "scratch" });
});

test("a verdict that could not be stored says so and may be sent again", async () => {
  fakeApi({ [parts]: { items: [part] } });
  const form = await openReview("pass");
  fireEvent.submit(form);
  expect(await screen.findByText(/Not stored: nothing at/)).toBeTruthy();
  expect(within(form).getByRole<HTMLButtonElement>("button").disabled).toBe(false);
});

test("a server that asks for a token gets the one that is typed in", async () => {
  const api = fakeApi({ [parts]: { items: [part] } });
  api.refuse = { status: 401, message: "a review needs a token" };
  const form = await openReview("pass");
  fireEvent.submit(form);
  fireEvent.change(await within(form).findByLabelText(/Access token/), { target: { value: "s3cret" } });
  delete api.refuse;
  api.routes["/v1/lines/demo/reviews"] = {};
  fireEvent.submit(form);
  expect(await screen.findByText(/Stored\./)).toBeTruthy();
  expect(api.sent.at(-1)?.authorisation).toBe("Bearer s3cret");
});

test("a part that was just reviewed shows the verdict that was given", async () => {
  fakeApi({ [parts]: { items: [part] }, "/v1/lines/demo/reviews": {} });
  fireEvent.submit(await openReview("fail"));
  expect(await screen.findByText(/your verdict: fail/)).toBeTruthy();
});

test("the night narrows the parts", async () => {
  const api = fakeApi({ [parts]: { items: [] }, "/v1/lines/demo/nights": { items: [night] } });
  render(<Parts line="demo" />);
  await screen.findByRole("option", { name: "2026-03-04" });
  fireEvent.change(screen.getByLabelText("Night"), { target: { value: "2026-03-04" } });
  await waitFor(() => expect(api.asked).toContain("/v1/lines/demo/parts?limit=48&day=2026-03-04"));
});

test("more parts are read on demand, and the first ones stay in sight meanwhile", async () => {
  const many = Array.from({ length: 48 }, (_, place) => ({
    ...part,
    part: `P-${place}`,
    sha256: `${place}`.padStart(64, "0"),
  }));
  const api = fakeApi({ [parts]: { items: many } });
  render(<Parts line="demo" />);
  fireEvent.click(await screen.findByRole("button", { name: "Show 48 more" }));
  expect(screen.getByRole("heading", { name: "P-0, camera top" })).toBeTruthy();
  await waitFor(() => expect(api.asked).toContain("/v1/lines/demo/parts?limit=96"));
  await waitFor(() => expect(screen.queryByRole("button", { name: "Show 48 more" })).toBeNull());
});

test("a browser that keeps nothing can still send a review", async () => {
  const refuse = () => {
    throw new DOMException("storage is blocked", "SecurityError");
  };
  vi.spyOn(Storage.prototype, "getItem").mockImplementation(refuse);
  vi.spyOn(Storage.prototype, "setItem").mockImplementation(refuse);
  fakeApi({ [parts]: { items: [part] }, "/v1/lines/demo/reviews": {} });
  fireEvent.submit(await openReview("pass"));
  expect(await screen.findByText(/Stored\./)).toBeTruthy();
  vi.restoreAllMocks();
});
