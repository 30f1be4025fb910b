// `npm run screenshot -- --url URL --out FILE.png [--width 1280] [--height 900] [--dark]`: the whole page as a picture.
import { parseArgs } from "node:util";

import { findChromium, startChromium } from "./browser.mjs";

const { values } = parseArgs({
  options: {
    url: { type: "string" },
    out: { type: "string" },
    width: { type: "string", default: "1280" },
    height: { type: "string", default: "900" },
    dark: { type: "boolean", default: false },
  },
});
const chromium = findChromium();
if (values.url === undefined || values.out === undefined || chromium === undefined) {
  const problem = chromium === undefined ? "no Chromium; LOUPE_CHROMIUM names one" : "--url and --out are needed";
  console.error(`screenshot: ${problem}\nusage: npm run screenshot -- --url URL --out FILE.png`);
  process.exit(2);
}

const browser = await startChromium(chromium);
try {
  const viewport = { width: Number(values.width), height: Number(values.height) };
  const page = await browser.newPage({ viewport, colorScheme: values.dark ? "dark" : "light" });
  await page.goto(values.url, { waitUntil: "networkidle" });
  // Pictures below the fold are lazy; a full-page picture wants them too.
  await page.evaluate(() => document.querySelectorAll("img").forEach((image) => (image.loading = "eager")));
  await page.waitForLoadState("networkidle");
  await page.waitForFunction(() => [...document.images].every((image) => image.complete));
  await page.screenshot({ path: values.out, fullPage: true });
} finally {
  await browser.close();
}
