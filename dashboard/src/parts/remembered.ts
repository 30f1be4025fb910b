/** Small things kept in the browser. A frame of another site may have no storage; then nothing is kept. */

const NAME = "loupe.reviewer";
const TOKEN = "loupe.token";

/** The name that was last used in this browser. */
export function reviewerName(): string {
  return get(() => localStorage, NAME);
}

/** The access token of this browser tab; forgotten when the tab is closed. */
export function accessToken(): string {
  return get(() => sessionStorage, TOKEN);
}

export function remember(name: string, token: string): void {
  set(() => localStorage, NAME, name);
  if (token !== "") set(() => sessionStorage, TOKEN, token);
}

function get(storage: () => Storage, key: string): string {
  try {
    return storage().getItem(key) ?? "";
  } catch {
    return "";
  }
}

function set(storage: () => Storage, key: string, value: string): void {
  try {
    storage().setItem(key, value);
  } catch {
    // Refused or full: the person types it again.
  }
}
