import { vi } from "vitest";

export interface Sent {
  path: string;
  body: unknown;
}

export interface FakeApi {
  routes: Record<string, unknown>;
  down: boolean;
  asked: string[];
  sent: Sent[];
}

/** Stands in for the server: answers `routes` by path (query left out), 404 for the rest, nothing when down. */
export function fakeApi(routes: Record<string, unknown>): FakeApi {
  const api: FakeApi = { routes, down: false, asked: [], sent: [] };
  vi.stubGlobal("fetch", (input: string, init?: RequestInit) => {
    if (api.down) return Promise.reject(new TypeError("Failed to fetch"));
    const address = input.replace(/^\./, "");
    const path = address.split("?")[0] ?? address;
    api.asked.push(address);
    if (init?.method === "POST") api.sent.push({ path, body: JSON.parse(String(init.body)) });
    const found = api.routes[path];
    if (found === undefined) {
      const error = { error: { code: "not_found", message: `nothing at ${path}` } };
      return Promise.resolve(Response.json(error, { status: 404 }));
    }
    return Promise.resolve(Response.json(found));
  });
  return api;
}
