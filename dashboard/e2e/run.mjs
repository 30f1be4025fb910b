// `npm run test:e2e`: the built dashboard, served by the real app, in the machine's Chromium.
// Without one the checks are skipped, loudly; with LOUPE_REQUIRE_BROWSER=1 that is a failure.
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { findChromium, startChromium } from "./browser.mjs";
import { CHECKS } from "./checks.mjs";
import { PROJECT, seed, startApp } from "./server.mjs";

async function runChecks(context) {
  let failed = 0;
  for (const [name, check] of CHECKS) {
    try {
      await check(context);
      console.log(`ok    ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL  ${name}\n${error.stack}`);
    }
  }
  return failed;
}

async function main() {
  const chromium = findChromium();
  if (chromium === undefined) {
    const what = `${CHECKS.length} browser checks: no Chromium; Debian package \`chromium\``;
    if (process.env.LOUPE_REQUIRE_BROWSER === "1") throw new Error(`cannot run ${what}`);
    console.log(`SKIPPED ${what}`);
    return { passed: 0, failed: 0, skipped: CHECKS.length };
  }
  if (!existsSync(join(PROJECT, "dashboard", "dist", "index.html"))) {
    throw new Error("dashboard/dist is missing; run `npm run build` first");
  }
  const home = await mkdtemp(join(tmpdir(), "loupe-e2e-"));
  const closing = [() => rm(home, { recursive: true, force: true })];
  try {
    await seed(home, "write");
    const app = await startApp(home);
    closing.unshift(app.stop);
    const browser = await startChromium(chromium);
    closing.unshift(() => browser.close());
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    page.setDefaultTimeout(15_000);
    const failed = await runChecks({ page, home, address: app.address, stopApp: app.stop });
    return { passed: CHECKS.length - failed, failed, skipped: 0 };
  } finally {
    for (const close of closing) await close();
  }
}

try {
  const { passed, failed, skipped } = await main();
  console.log(`browser: ${passed} passed, ${failed} failed, ${skipped} skipped`);
  process.exitCode = failed === 0 ? 0 : 1;
} catch (error) {
  console.log(error.stack);
  console.log(`browser: 0 passed, ${CHECKS.length} failed, 0 skipped`);
  process.exitCode = 1;
}
