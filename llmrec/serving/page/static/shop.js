// What the service has, and its products' titles, each asked for once.

import { ask } from "./api.js";
import { state } from "./state.js";

export let shop = null;
const products = new Map();

export async function openShop() {
  shop = (await ask("/v1/page/setup")).answer;
  return shop;
}

export const locales = () => Object.keys(shop.locales);
export const locale = () => (state.locale in shop.locales ? state.locale : locales()[0] || "");
export const language = (name = locale()) => shop.locales[name] || null;

const named = (id, place) => `${place}\n${id}`;

/** Remember products that an answer brought along. */
export function remember(found, place = locale()) {
  for (const one of found) {
    const kept = products.get(named(one.id, place));
    products.set(named(one.id, place), { known: true, ...kept, ...one });
  }
}

export const product = (id, place = locale()) => products.get(named(id, place)) || { id, known: true };

/** Learn the titles of products that are not known yet. */
export async function lookUp(ids, place = locale()) {
  const missing = [...new Set(ids)].filter((id) => products.get(named(id, place))?.looked !== true);
  if (!missing.length || !place) return false;
  const { answer } = await ask("/v1/page/products", { ids: missing, locale: place });
  remember(answer.products.map((one) => ({ ...one, looked: true })), place);
  return true;
}
