// Elements made of data: a text is only ever a text, whatever it holds.

export const $ = (id) => document.getElementById(id);

/** An element; `props` are attributes, or listeners where they are functions; null and false are left out. */
export function el(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name, value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
  return made;
}

/** Put children in the place of what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A text in the language of its locale, whose direction turns nothing around it. */
export function titled(text, language, tag = "bdi") {
  return el(tag, { lang: language || null, dir: "auto", class: "title" }, text);
}

/** Say something to those who hear the page. */
export function say(text) {
  $("said").textContent = text;
}

/** A coloured tile in the place of a picture: the same product always has the same colour. */
export function tile(product) {
  const seed = product.brand || (product.title || product.id).split(/\s/, 1)[0];
  let hash = 7;
  for (const letter of seed) hash = (hash * 31 + letter.codePointAt(0)) >>> 0;
  const letter = [...(product.title || product.id).replace(/[^\p{L}\p{N}]/gu, "")][0] || "?";
  return el("span", { class: `tile tile-${hash % 8}`, "aria-hidden": "true" }, letter.toUpperCase());
}

export const number = (value, digits = 0) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** A problem as a person reads it. */
export function problem(error, again) {
  return el("div", { class: "trouble", role: "alert" }, el("p", {}, error.message || String(error)),
    again ? el("button", { type: "button", click: again }, "Try again") : null);
}

/** What is shown while something is on its way. */
export function waiting(rows = 4) {
  return el("div", { class: "waiting", "aria-hidden": "true" },
    Array.from({ length: rows }, () => el("span", { class: "bone" })));
}

/** Call a function when nobody has called for a while. */
export function later(work, ms) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), ms);
  };
}
