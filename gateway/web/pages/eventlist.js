// What happened, newest first.

import { explain } from "./api.js";
import { arrange, el, icon, link, say } from "./dom.js";
import { at } from "./format.js";
import { language, t } from "./texts.js";
import { eventParts, nodes } from "./said.js";
import { eventOf, markOf } from "./words.js";

export class EventList {
  constructor() {
    this.element = el("ol.log");
    this.items = new Map();
  }

  show(events) {
    const seen = new Map();
    const items = events.map((event) => {
      const base = JSON.stringify(event);
      const nth = (seen.get(base) ?? 0) + 1; // the same may have happened twice
      seen.set(base, nth);
      const key = `${base}${nth}`;
      if (!this.items.has(key)) this.items.set(key, item(event));
      return [key, this.items.get(key)];
    });
    this.items = new Map(items);
    const list = items.map(([, element]) => element);
    arrange(this.element, list.length ? list : [this.none ??= el("li.note", t("no_events"))]);
  }
}

function item(event) {
  const time = el("time", event.t === null ? t("time_unknown") : at(event.t));
  if (event.t !== null) time.dateTime = new Date(event.t).toISOString();
  const words = eventOf(event);
  const state = markOf(event);
  const shape = icon(state);
  const subject = event.machine && event.kind === "machine" ? link(`/machines/${encodeURIComponent(event.machine)}`, event.machine) : event.machine ? el("strong", event.machine) : el("strong", t(`kind.${event.kind}`) ?? event.kind);
  const meaning = el("span"); // of the fault, in the reader's language
  if (event.fault) explain(language, event.fault).then((told) => told && say(meaning, `${told.title}. `));
  const said = event.text && !words.includes(event.text) ? nodes(eventParts(event)) : [];
  const text = said.length || event.fault ? el("span.note", meaning, ...said, " ", event.fault && el("code", event.fault)) : null;
  const element = el("li", shape, time, el("div", subject, " ", el("span", words), text));
  element.dataset.state = state;
  return element;
}
