// The real Flask app on a free loopback port, over a results store of its own.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const HERE = dirname(fileURLToPath(import.meta.url));
export const PROJECT = join(HERE, "..", "..");
const UP_WITHIN_MS = 90_000;

function python() {
  const given = process.env.LOUPE_PYTHON ?? join(PROJECT, ".venv", "bin", "python");
  if (!existsSync(given)) throw new Error(`no Python at ${given}; LOUPE_PYTHON names another`);
  return given;
}

function surroundings(home) {
  return { ...process.env, LOUPE_HOME: home, LOUPE_LINES: join(home, "lines"), LOUPE_RESULTS: "sqlite", LOUPE_TOKEN: "" };
}

/** Runs e2e/seed.py with `command` (`write` or `reviews`) and returns what it prints, as JSON. */
export async function seed(home, command) {
  const options = { cwd: PROJECT, env: { ...surroundings(home), PYTHONPATH: PROJECT } };
  const { stdout } = await promisify(execFile)(python(), [join(HERE, "seed.py"), command], options);
  return JSON.parse(stdout);
}

async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}

/** Starts the app and returns its address and a function that ends it. */
export async function startApp(home) {
  const port = await freePort();
  const args = ["-m", "serving", "--host", "127.0.0.1", "--port", String(port)];
  const child = spawn(python(), args, { cwd: PROJECT, env: surroundings(home), stdio: ["ignore", "pipe", "pipe"] });
  const log = [];
  child.stdout.on("data", (piece) => log.push(piece));
  child.stderr.on("data", (piece) => log.push(piece));
  const ended = once(child, "exit");
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
    await ended;
  };
  const address = `http://127.0.0.1:${port}`;
  try {
    await untilHealthy(address, child);
  } catch (error) {
    await stop();
    throw new Error(`${error.message}\n${Buffer.concat(log)}`);
  }
  return { address, stop };
}

async function untilHealthy(address, child) {
  const deadline = Date.now() + UP_WITHIN_MS;
  while (Date.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`the app ended with status ${child.exitCode}`);
    const answer = await fetch(`${address}/healthz`).catch(() => null);
    if (answer?.ok) return;
    await sleep(200);
  }
  throw new Error(`the app was not healthy within ${UP_WITHIN_MS / 1000} s`);
}
