import { vi } from "vitest";

export interface Sent {
  path: string;
  body: unknown;
  authorisation: string | null;
}

export interface FakeApi {
  routes: Record<string, unknown>;
  down: boolean;
  asked: string[];
  sent: Sent[];
  /** When set, every POST is answered with this error. */
  refuse?: { status: number; message: string };
}

/** Stands in for the server: answers `routes` by path (query left out), 404 for the rest, nothing when down. */
export function fakeApi(routes: Record<string, unknown>): FakeApi {
  const api: FakeApi = { routes, down: false, asked: [], sent: [] };
  vi.stubGlobal("fetch", (input: string, init?: RequestInit) => {
    if (api.down) return Promise.reject(new TypeError("Failed to fetch"));
    const address = input.replace(/^\./, "");
    const path = address.split("?")[0] ?? address;
    api.asked.push(address);
    if (init?.method === "POST") {
      const authorisation = new Headers(init.headers).get("Authorization");
      api.sent.push({ path, body: JSON.parse(String(init.body)), authorisation });
      if (api.refuse) {
        const { status, message } = api.refuse;
        return Promise.resolve(Response.json({ error: { code: "refused", message } }, { status }));
      }
    }
    const found = api.routes[path];
    if (found === undefined) {
      const error = { error: { code: "not_found", message: `nothing at ${path}` } };
      return Promise.resolve(Response.json(error, { status: 404 }));
    }
    return Promise.resolve(Response.json(found));
  });
  return api;
}
