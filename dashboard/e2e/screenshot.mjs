// `npm run screenshot -- URL OUT.png [width height]`: the whole page as a picture. DARK=1 for the dark theme.
import { findChromium, startChromium } from "./browser.mjs";

const [url, out, width = "1280", height = "900"] = process.argv.slice(2);
const chromium = findChromium();
if (url === undefined || out === undefined || chromium === undefined) {
  const problem = chromium === undefined ? "no Chromium; LOUPE_CHROMIUM names one" : "URL and OUT.png are needed";
  console.error(`screenshot: ${problem}\nusage: npm run screenshot -- URL OUT.png [width height]`);
  process.exit(2);
}

const browser = await startChromium(chromium);
try {
  const colorScheme = process.env.DARK === "1" ? "dark" : "light";
  const page = await browser.newPage({ viewport: { width: Number(width), height: Number(height) }, colorScheme });
  await page.goto(url, { waitUntil: "networkidle" });
  // Pictures below the fold are lazy; a full-page picture wants them too.
  await page.evaluate(() => document.querySelectorAll("img").forEach((image) => (image.loading = "eager")));
  await page.waitForLoadState("networkidle");
  await page.waitForFunction(() => [...document.images].every((image) => image.complete));
  await page.screenshot({ path: out, fullPage: true });
} finally {
  await browser.close();
}
