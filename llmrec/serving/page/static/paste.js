// What people paste, as ids: JSON, CSV in the official form, a list, or words that are none.

/** Ids of a text, and the locale and next item that it may name; null where it is words to search for. */
export function pasted(text) {
  const bare = text.trim();
  if (!bare) return null;
  return fromJson(bare) || fromTable(bare) || fromList(bare);
}

function fromJson(text) {
  if (!/^[[{"]/.test(text)) return null;
  let told;
  try {
    told = JSON.parse(text);
  } catch {
    return listed(text);
  }
  if (Array.isArray(told) && told.length && told.every((one) => typeof one === "object" && one)) {
    const first = told[0];
    if (Array.isArray(first)) told = first;
    else if (first.id && !first.prev_items && !first.items) told = told.map((one) => one.id);
    else told = first;
  }
  if (Array.isArray(told)) return found(told.map(String));
  if (typeof told === "string") return found([told]);
  const items = told.items || told.prev_items || told.session;
  if (Array.isArray(items)) return found(items.map(String), told.locale, told.next_item);
  return typeof items === "string" ? listed(items, told.locale, told.next_item) : null;
}

/** The official form's list, ['B01' 'B02'], with or without commas. */
function listed(text, locale, next) {
  const inside = /^\s*\[([^\]]*)\]\s*$/.exec(text);
  if (!inside) return null;
  return found(inside[1].split(/[\s,]+/).map((one) => one.replace(/^['"]|['"]$/g, "")), locale, next);
}

function fromTable(text) {
  const [head, first] = text.split(/\r?\n/);
  const columns = cells(head);
  const place = columns.findIndex((one) => one === "prev_items" || one === "items");
  if (place >= 0 && first) {
    const row = cells(first);
    const value = (name) => row[columns.indexOf(name)] || "";
    return listed(row[place], value("locale"), value("next_item"));
  }
  const own = /^("?)(\[[^\]]*\])\1\s*,\s*([A-Za-z-]+)\s*$/.exec(head);  // a row of the official form alone
  return own ? listed(own[2], own[3]) : null;
}

/** The cells of a line of CSV. */
function cells(line) {
  const cut = line.match(/("([^"]|"")*"|[^,\t;]*)([,\t;]|$)/g) || [];
  return cut.map((one) => one.replace(/[,\t;]$/, "").trim().replace(/^"(.*)"$/s, "$1").replaceAll('""', '"'));
}

/** Ids below or behind each other; words of a language are none. */
function fromList(text) {
  const parts = text.split(/[\s,;]+/).filter(Boolean).map((one) => one.replace(/^['"]|['"]$/g, ""));
  const isId = (one) => /^[\w.:/-]{4,64}$/.test(one) && /\d/.test(one) && !/[a-z]{4}/.test(one);
  return parts.every(isId) ? found(parts) : null;
}

function found(ids, locale = "", target = "") {
  const items = ids.map((one) => one.trim()).filter(Boolean).slice(0, 1000);
  return items.length ? { items, locale: locale || "", target: target || "" } : null;
}
