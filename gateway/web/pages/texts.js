// The words of the pages in the reader's language; en.js and vi.js have the same keys.

const LANGUAGES = ["en", "vi"];
const ours = (tag) => LANGUAGES.find((language) => tag?.slice(0, 2).toLowerCase() === language);
const asked = ours(new URLSearchParams(location.search).get("lang"));

/** The reader's language among ours: asked for in the address, else remembered, else the browser's, else English. */
export const language = [asked, recall("language"), ...navigator.languages].map(ours).find(Boolean) ?? "en";
if (asked) remember("language", asked);

const { texts } = await import(`./${language}.js`);

/** The text of a key, with its {places} filled; undefined where there is none. */
export function t(key, places = {}) {
  return Object.hasOwn(texts, key) ? texts[key].replace(/\{(\w+)\}/g, (_, name) => places[name]) : undefined;
}

/** `key.one` for one, `key` for others; n is written by the caller, as people here write numbers. */
export const plural = (key, n, places) => (n === 1 && t(`${key}.one`, places)) || t(key, places);

function recall(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // a browser that keeps nothing
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // the address says it as well
  }
}
