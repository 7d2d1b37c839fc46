// What the gateway says of itself, in the reader's language. It says it in English: in its log, in events that are kept for
// years, in the status that others read. Here is the one place that knows its sentences; of those that are not known the title
// of their fault is shown first, and they behind it, marked as English. What people of the plant wrote stays as it is.

import { titleOf } from "./api.js";
import { el, with_ } from "./dom.js";
import { digits } from "./format.js";
import { language, t } from "./texts.js";

const N = "(\\d+)";
const SPAN = "([\\d.]+ (?:s|days))";
const STEP = "( \\([+-][\\d.]+ s\\))?"; // by how much, exactly
const WAY = "(forward|back)";

/** A table of sentences: [key, form, what its parts are]. The texts are those of `said.key`. */
export const formsOf = (rows) => rows.map(([key, form, ...names]) => [key, new RegExp(`^${form}$`, "s"), names]);

const SAID = formsOf([
  ["said.connecting", "connecting"],
  ["said.not_read_yet", "not read yet"],
  ["said.not_connected_yet", "not connected yet"],
  ["said.without_broker", "out of reach without the broker"],
  ["said.unexpected", "an unexpected error, see the log"],
  ["said.all_bad", "every signal is (\\w+(?::.+)?)", "quality"],
  ["said.some_bad", `${N} of ${N} signals are bad, ${N} (\\w+(?::.+)?)`, "n", "all", "most", "quality"],
  ["said.version", "version (\\S+)", "version"],
  ["said.was_stopped", "the gateway was stopped"],
  ["said.killed", "ended without a word: killed, or a power cut"],
  ["said.no_page", "status page: none"],
  ["said.page", "status page: (\\S+)", "url"],
  ["said.logged_in", "(.+) logged in from (\\S+)", "user", "address"],
  ["said.logged_out", "(.+) logged out", "user"],
  ["said.password_set", "the password of (.+) was set", "user"],
  ["said.password_wrong", "a wrong password for (.+) from (\\S+)", "user", "address"],
  ["said.lost_of", `(\\S+/\\S+): ${N} readings lost: (.+)`, "signal", "n", "cause"],
  ["said.lost", `${N} readings lost: (.+)`, "n", "cause"],
  ["said.lost_some_of", "(\\S+/\\S+): an unknown number of readings lost: (.+)", "signal", "cause"],
  ["said.lost_some", "an unknown number of readings lost: (.+)", "cause"],
  ["said.clock_set", `the clock was set ${WAY} by ${SPAN}: followed${STEP}`, "way", "span", "step"],
  ["said.clock_slower", `the clock was set ${WAY} by ${SPAN}: still ${SPAN} ahead of it, running slower${STEP}`, "way", "span", "ahead", "step"],
  ["said.clock_start", `at the start the clock was ${SPAN} behind what had been recorded: going on from there, slower${STEP}`, "span", "step"],
  ["said.clock_wrong", `the clock jumped ${WAY} by ${SPAN}, which cannot be right: not believed\\. Set it${STEP}`, "way", "span", "step"],
  ["said.clock_stood", `the clock jumped ${WAY} by ${SPAN}: followed, it has stood there for ${SPAN}${STEP}`, "way", "span", "stood", "step"],
  ["said.clock_vouched", `the clock jumped ${WAY} by ${SPAN}: followed, the system says that it is synchronized${STEP}`, "way", "span", "step"],
  ["said.clock_back", `the clock jumped ${WAY} by ${SPAN} and came back after ${SPAN}: not believed${STEP}`, "way", "span", "after", "step"],
  ["said.demand_energy", "Consumption in the ([\\d.]+) minutes that end with its time", "n"],
  ["said.demand_power", "Mean power in the ([\\d.]+) minutes that end with its time", "n"],
  ["said.delta", "What (.+) has counted since its reading before", "name"],
  ["said.delta_formula", "(.+) - its reading before", "name"],
]);

const inDays = (span) => {
  const [n, unit] = span.split(" ");
  return unit === "s" ? `${digits(n)} s` : t("said.days", { n: digits(n) });
};
// How what stands in a sentence is said; what is not here is a name, an address or a version, and stays as it is.
const PARTS = {
  n: digits, all: digits, most: digits, span: inDays, ahead: inDays, stood: inDays, after: inDays,
  way: (way) => t(`said.way_${way}`), quality: qualityOf, cause: (cause) => causeOf(cause).map((part) => part.en ?? part).filter(Boolean).join(": "),
};

/** A sentence by a table of them; undefined where it is none of these. */
export function inWords(forms, said, parts = PARTS) {
  for (const [key, form, names] of forms) {
    const found = form.exec(said);
    if (found) return t(key, Object.fromEntries(names.map((name, i) => [name, (parts[name] ?? String)(found[i + 1] ?? "")])));
  }
  return undefined;
}

export function qualityOf(quality) {
  const [severity, reason, code] = quality.split(":");
  if (!reason) return t(`quality.${severity}`) ?? severity;
  if (reason === "server") return `${t(`quality.${severity}`)}: ${t("quality.server", { code })}`;
  return t(`quality.${reason}`) ?? reason;
}

/** A cause of a loss in plain words, and what stands behind its colon. One that is not known is shown as it is. */
export function causeOf(cause) {
  const whole = t(`cause.${cause}`);
  if (whole) return [whole, ""];
  const [, kind, detail] = /^([^:]+): (.*)$/s.exec(cause) ?? [];
  const words = kind && t(`cause.${kind}`);
  if (!words) return [{ en: cause }, ""];
  const kept = /^one value in (\S+) s$/.exec(detail);
  return [words, kept ? t("one_value_in", { n: digits(kept[1]) }) : inWords(SAID, detail) ?? { en: detail }];
}

/** A text of the gateway as one part of a line: in the reader's words, or as English. */
export const said = (text) => (text ? inWords(SAID, text) ?? { en: text } : "");

/** Why something is as it is: in words where it is known; else what its fault is called, and the English behind it. */
export function reasonParts({ reason, fault, words }) {
  if (words) return words;
  if (!reason) return [];
  const known = t(`reason.${reason}`) ?? t(`quality.${reason}`) ?? inWords(SAID, reason);
  if (known) return [known];
  return language === "en" ? [reason] : [titleOf(language, fault), { en: reason }];
}

/** What stands behind the words of an event. */
export function eventParts({ kind, state, text }) {
  const changed = kind === "config" && state !== "safe mode" && language !== "en" && /^([\w.@-]+): (.*)$/s.exec(text);
  return changed ? [{ own: changed[1] }, { en: changed[2] }] : [said(text)];
}

// --- parts: a text in the reader's language, {en: a text in English}, {own: one of the plant} ---------------------------

/** An element for a text that is English whatever the page is. */
export const english = (text, kind = "span") => with_(el(language === "en" ? kind : `${kind}.english`, text), { lang: "en" });

/** One for names, descriptions and values, which nobody translates. */
export const own = (text, kind = "span") => with_(el(kind, text), { translate: "no" });

function nodeOf(part) {
  if (part.en !== undefined) return language === "en" ? part.en : english(part.en);
  return part.own !== undefined ? own(part.own) : part;
}

/** Parts of a line as what can be put into an element, divided by dots. */
export const nodes = (parts, between = " · ") => parts.filter((part) => part && part.en !== "" && part.own !== "").flatMap((part, i) => (i ? [between, nodeOf(part)] : [nodeOf(part)]));

const written = new WeakMap();

/** Write a line of parts; only where it differs from what is there. */
export function sayParts(element, parts, front = "", between = " · ") {
  const key = JSON.stringify([front, parts]);
  if (written.get(element) === key) return;
  written.set(element, key);
  element.replaceChildren(front, ...nodes(parts, between));
}

// --- signals ---------------------------------------------------------------------------------------------------------

const figureOf = (name) => name.replace(/^(shift|hour|day|demand)\./, "");

/** The description of a signal, as a part: what the gateway works out is described by us, all else by somebody of the plant. */
export function descriptionOf({ name, description, worked_out: made }) {
  if (!description || !made) return { own: description ?? "" };
  const figure = figureOf(name);
  const input = language !== "en" && figure !== name ? t(`input.${figure}`) : undefined;
  return t(`about.${figure}`) ?? inWords(SAID, description) ?? input ?? { en: description };
}

/** The formula of a figure, or where a signal is read. */
export function formulaOf({ name, worked_out: made }, formula) {
  if (!made || !formula || language === "en") return { own: formula ?? "" };
  return t(`formula.${figureOf(name)}`) ?? inWords(SAID, formula) ?? { own: formula };
}
