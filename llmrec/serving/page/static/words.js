// Two titles, word by word: what was kept, dropped, and is new.

import { el } from "./dom.js";

/** Words and what is between them; a language without spaces is cut by the browser's own rules. */
function pieces(text, language) {
  if (/\s/.test(text.trim()) || !Intl.Segmenter) return text.split(/(\s+)/).filter(Boolean);
  return [...new Intl.Segmenter(language || undefined, { granularity: "word" }).segment(text)].map((one) => one.segment);
}

/** Both titles as elements: dropped words in the first, new ones in the second. */
export function marked(last, title, language) {
  const old = pieces(last, language);
  const made = pieces(title, language);
  const [had, has] = [new Set(old), new Set(made)];
  const drawn = (words, others, tag) => words.map((word) =>
    (word.trim() && !others.has(word) ? el(tag, {}, word) : document.createTextNode(word)));
  return { before: drawn(old, has, "del"), after: drawn(made, had, "ins") };
}
