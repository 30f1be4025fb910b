// What a person sees and does, checked in a real browser against the real app.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

import { seed } from "./server.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PAGES = [
  ["#/", "Lines at a glance"],
  ["#/lines/demo", "Demo line"],
];

async function open(page, address, hash, heading) {
  await page.goto("about:blank");
  await page.goto(`${address}/${hash}`);
  await page.getByRole("heading", { level: 1, name: heading }).waitFor();
  await page.waitForFunction(() => document.querySelector("[aria-busy]") === null);
}

async function glance({ page, address }) {
  await open(page, address, ...PAGES[0]);
  const card = (title) => page.getByRole("listitem").filter({ has: page.getByRole("link", { name: title }) });
  await card("Demo line").getByRole("img", { name: /80 pass, 15 review, 5 fail/ }).waitFor();
  await card("Demo line").getByText("drift alarm").waitFor();
  await card("Bare line").getByText("every part is held for review").waitFor();
  await card("Bare line").getByText("No night yet.").waitFor();
  await card("Dealt line").getByText("Days are dealt, not captured.").waitFor();
}

async function line({ page, address }) {
  await open(page, address, ...PAGES[0]);
  await page.getByRole("link", { name: "Demo line" }).press("Enter");
  await page.getByRole("heading", { level: 1, name: "Demo line" }).waitFor();
  await page.getByText("not reconciled").first().waitFor();
  await page.getByText("started from random weights").waitFor();
  await page.getByRole("img", { name: /escape.*too few samples/ }).waitFor();
  const picture = page.getByRole("img", { name: "Picture of P-01, camera top" });
  await picture.scrollIntoViewIfNeeded();
  await page.waitForFunction((image) => image.complete && image.naturalWidth > 0, await picture.elementHandle());
  await page.getByRole("radio", { name: "Failed" }).check();
  await page.getByText("beyond the fail threshold").first().waitFor();
  assert.equal(await page.getByText("between the thresholds").count(), 0, "a held part is shown among the failed");
  await page.getByText("too few images: 12 of 30").first().waitFor();
  for (const name of ["Evaluation report", "Drift report of 2026-03-04, image"]) {
    const report = await page.locator("a", { hasText: name }).evaluate((link) => link.href);
    assert.equal((await fetch(report)).status, 200, `${report} does not open`);
  }
}

async function review({ page, address, home }) {
  await open(page, address, ...PAGES[1]);
  await page.getByText("Review P-01, camera top").click();
  const form = page.getByRole("form", { name: "Review of P-01, camera top" });
  await form.getByLabel("fail").check();
  await form.getByLabel("Your name").fill("Ada Lovelace");
  await form.getByLabel("Comment").fill("a real scratch");
  await form.getByRole("button", { name: "Send verdict" }).click();
  await form.getByText("Stored.").waitFor();
  const [stored, ...more] = await seed(home, "reviews");
  assert.equal(more.length, 0, "one review was sent, more are stored");
  const { verdict, by, comment, defect_type } = stored;
  const expected = { verdict: "fail", by: "Ada Lovelace", comment: "a real scratch", defect_type: "scratch" };
  assert.deepEqual({ verdict, by, comment, defect_type }, expected);
}

async function accessible({ page, address }) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const [hash, heading] of PAGES) {
      await open(page, address, hash, heading);
      await page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
      await page.evaluate(AXE);
      const { violations } = await page.evaluate(() => globalThis.axe.run());
      const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
      const found = serious.map(({ id, nodes }) => `${id} at ${nodes[0].target}: ${nodes[0].failureSummary}`);
      assert.deepEqual(found, [], `axe in ${colorScheme} on ${hash}`);
    }
  }
  await page.emulateMedia({ colorScheme: "light" });
}

async function narrow({ page, address }) {
  await page.setViewportSize({ width: 375, height: 812 });
  for (const [hash, heading] of PAGES) {
    await open(page, address, hash, heading);
    await page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 375, `${hash} is ${width} px wide on a screen of 375 px`);
  }
  await page.setViewportSize({ width: 1280, height: 900 });
}

async function stale({ page, address, stopApp }) {
  await open(page, address, ...PAGES[1]);
  await stopApp();
  await page.getByText("The API does not answer. Stale: what you see was read at").waitFor({ timeout: 40_000 });
  await page.getByText("started from random weights").waitFor();
}

/** In this order: the last one ends the app. */
export const CHECKS = [
  ["every line is seen at a glance", glance],
  ["one line shows its nights, model, pictures and report", line],
  ["a person's verdict is stored", review],
  ["axe finds nothing serious, light and dark", accessible],
  ["no page scrolls sideways at 375 px", narrow],
  ["data stay with a stale note when the API goes away", stale],
];
