// Finds and starts the machine's Chromium; nothing is downloaded.
import { existsSync } from "node:fs";

import { chromium } from "playwright-core";

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The path of a Chromium, or undefined. LOUPE_CHROMIUM names one elsewhere. */
export function findChromium() {
  const named = process.env.LOUPE_CHROMIUM;
  return (named === undefined ? PLACES : [named]).find((place) => existsSync(place));
}

export function startChromium(executablePath) {
  return chromium.launch({ executablePath, args: FLAGS });
}
