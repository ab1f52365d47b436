// The service's own routes, with the key that it may want.

import { $ } from "./dom.js";

const KEY = "llmrec-key";

export class Problem extends Error {
  constructor(message, code, field) {
    super(message);
    this.code = code;
    this.field = field;
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export const wantsKey = () => Boolean(sessionStorage.getItem(KEY));

/** Ask a route; the answer, and how many milliseconds it took to come. */
export async function ask(path, body = {}, signal = undefined) {
  for (let tries = 0; ; tries++) {
    const start = performance.now();
    const headers = { "Content-Type": "application/json" };
    const key = sessionStorage.getItem(KEY);
    if (key) headers.Authorization = `Bearer ${key}`;
    let response;
    try {
      response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem("The service does not answer. It may have been stopped.", "gone", "");
    }
    const told = await response.json().catch(() => null);
    if (response.ok) return { answer: told, ms: performance.now() - start };
    if (response.status === 401) {
      await askForKey();
      continue;
    }
    if ((response.status === 429 || response.status === 503) && tries < 40) {
      $("starting").textContent = response.status === 503 ? "The models are being loaded …" : "The service is busy …";
      await pause(Math.min(1000 * Number(response.headers.get("Retry-After") || 1), 5000));
      continue;
    }
    const error = (told && told.error) || {};
    throw new Problem(error.message || `The service answered ${response.status}.`, error.code || "", error.field || "");
  }
}

let asking = null;

/** Let the person give a key; all who wait for one wait for the same. */
function askForKey() {
  asking ??= new Promise((resolve) => {
    const dialog = $("key");
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(KEY, $("key-text").value.trim());
      $("key-text").value = "";
      asking = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}
