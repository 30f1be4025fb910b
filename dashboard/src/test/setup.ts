import { cleanup } from "@testing-library/react";
import { afterEach, vi } from "vitest";

import { connection } from "../connection/connection";

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
  connection.reset();
  localStorage.clear();
  sessionStorage.clear();
  window.location.hash = "";
});
