// Conditions, qualities, faults and events in plain words.

import { explain } from "./api.js";
import { el } from "./dom.js";
import { digits, moment, unit } from "./format.js";
import { nodes, reasonParts, sayParts } from "./said.js";
import { language, t } from "./texts.js";

const LONG = 16; // characters: what is longer may be broken anywhere

export const lines = (...parts) => parts.filter(Boolean).join(" · ");
export const sinceOf = ({ since_ms }, now) => (since_ms ? t("since", { time: moment(since_ms, now) }) : "");

/** The value of a signal as it is written here; "" where there is none. */
export function textOf({ type, text, value }) {
  text ??= value === null || value === undefined ? null : String(value);
  if (text === null) return "";
  if (type === "string") return text || t("empty");
  return type === "bool" ? t(text) ?? text : digits(text);
}

export const withUnit = (row) => `${textOf(row)} ${unit(row.unit ?? "")}`.trim();

/** good, uncertain, stale or bad: how a quality is shown. */
export const kindOf = (quality) => (quality === "bad:stale" ? "stale" : quality.split(":")[0]);

/** What a machine does, in words; a word of the plant's own stays as it is. */
export const doingOf = (state) => t(`doing.${state}`) ?? state;

/** A name that may be broken after its dots, dashes and underscores rather than anywhere. */
export function breakable(name) {
  const parts = name.match(/[^._-]*[._-]*/g).flatMap((part) => [el("wbr"), part.length > LONG ? el("span.long", part) : part]);
  return parts.slice(1);
}

/** Why something is bad: what the fault is, its likely causes, and what to look at. */
export async function why(body, code, reason) {
  const told = code ? await explain(language, code) : null;
  body.replaceChildren();
  if (reason) body.append(el("p.said", el("span.note", t("it_says")), " ", ...nodes(reasonParts({ reason }))));
  if (told) {
    body.append(el("p.fault", told.title));
    for (const [key, list] of [["causes", told.causes], ["checks", told.checks]]) {
      if (list?.length) body.append(el("p.label", t(key)), el(key === "checks" ? "ol" : "ul", ...list.map((text) => el("li", text))));
    }
  } else if (!reason) {
    body.append(el("p", t("no_explanation")));
  }
  if (code) body.append(el("p.note", t("fault_code"), " ", el("code", code)));
}

/** What happened, in words; "" where there are none: then what the log says has to do. */
export const eventOf = ({ kind, state }) => t(`event.${kind}.${state}`) ?? t(`event.${kind}`) ?? "";

const MARKS = { online: "online", started: "online", reloaded: "online", degraded: "degraded", offline: "offline", refused: "degraded", failed: "offline", stopped: "unused", trouble: "offline", well: "online" };
const KINDS = { loss: "offline", clock: "degraded" };

/** The mark in front of an event. */
export const markOf = ({ kind, state }) => MARKS[state] ?? KINDS[kind] ?? "unused";

/** Refusals of the gateway: its own words, and what to do. */
export function refusal(error) {
  if (error.status === 0) return t("no_answer");
  return error.message ? { en: lines(error.message, error.hint) } : t("refused_status", { status: error.status });
}

/** An error beside what could not be done; announced where it appears after somebody pressed something. */
export function sayError(element, error) {
  sayParts(element, error ? [refusal(error)] : []);
  element.hidden = !error;
}
