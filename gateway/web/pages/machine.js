// One machine: its signals, one of them over time, why something is bad, and what happened to it.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { arrange, button, disclosure, el, heads, link, mark, say, sayState, with_ } from "./dom.js";
import { EventList } from "./eventlist.js";
import { age, count, moment, number, percent, unit } from "./format.js";
import { descriptionOf, formulaOf, nodes, qualityOf, reasonParts, sayParts } from "./said.js";
import { strip } from "./strip.js";
import { plural, t } from "./texts.js";
import { breakable, doingOf, kindOf, lines, refusal, sinceOf, textOf, why, withUnit } from "./words.js";

const FEW = 60; // signals that are shown before somebody asks for all
const COUNTERS = ["polls", "requests", "read", "bad", "timeouts", "errors", "reconnects", "suppressed", "accepted"];

export class MachinePage {
  constructor(frame, name) {
    this.frame = frame;
    this.name = name;
    this.stream = `view=machine&machine=${encodeURIComponent(name)}`;
    this.rows = new Map();
    this.all = false;
    this.chosen = null;
    this.wish = new URLSearchParams(location.search).get("signal");
    this.state = el("p.state");
    this.place = el("p.place");
    this.why = el("p.why");
    this.doing = el("p.doing");
    this.facts = el("dl.facts");
    this.fault = el("div.faultbox");
    this.fault.hidden = true;
    this.day = el("div.day.wide");
    const heading = el("h1", ...breakable(name));
    this.head = el("div.card.machine", el("div.head", heading, this.state, this.place, this.why), this.doing, this.fault, this.facts, this.day);
    this.chart = new Chart(frame, name);
    this.filter = with_(el("input"), { id: "filter", type: "search", autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
    this.filter.oninput = () => this.draw();
    this.number = el("span.note");
    this.found = with_(el("p.found"), { role: "status" });
    const form = with_(el("form.bar", el("h2", t("signals"), " ", this.number), this.found, with_(el("label", t("filter")), { for: "filter" }), this.filter), { role: "search" });
    form.onsubmit = (event) => event.preventDefault();
    this.body = el("tbody");
    const table = el("table.signals", el("caption.unseen", t("signals")),
      heads(["signal", t("signal")], ["value", t("value")], ["quality", t("quality")], ["age", t("age")], ["span", t("min_max")], ["address", t("address")]), this.body);
    this.more = button("more", "", () => {
      this.all = !this.all;
      this.draw();
    });
    this.log = new EventList();
    this.missing = el("div.card.pad.missing");
    this.missing.hidden = true;
    this.rest = el("div.columns", this.chart.element, form, el("div.card", table, this.more), el("section.card.pad", el("h2", t("log")), this.log.element, el("p", link(`/events?machine=${encodeURIComponent(name)}`, t("all_events")))));
    this.element = el("div.one", el("p.back", link("/", t("all_machines"))), this.head, this.missing, this.rest);
    this.look();
    this.clock = setInterval(() => this.look(), 60_000);
  }

  title() { return this.data ? lines(this.name, t(this.data.machine.state)) : this.name; }
  tick() { this.draw(); }

  stop() {
    clearInterval(this.clock);
    this.chart.stop();
  }

  async look() {
    const day = await get("/api/v1/strips?hours=24").catch(() => null);
    const mine = day?.machines && Object.hasOwn(day.machines, this.name) ? day.machines[this.name] : null;
    this.strips = mine?.length ? [mine, day.from_ms, day.to_ms] : null;
    this.drawn = "";
    this.drawDay();
  }

  drawDay() {
    const state = this.data?.machine.state;
    if (!this.strips || this.drawn === (state ?? "?")) return;
    this.drawn = state ?? "?";
    this.day.replaceChildren(strip(...this.strips, state));
  }

  /** The stream does not come: whether that is because there is no such machine. */
  async refused() {
    try {
      await get(`/api/v1/machines/${encodeURIComponent(this.name)}`);
    } catch (error) {
      if (error.status !== 404) return false;
      this.missing.replaceChildren(el("h1", t("no_machine", { name: this.name })), el("p", ...nodes([refusal(error)])));
      this.missing.hidden = false;
      this.rest.hidden = this.head.hidden = true;
      return true;
    }
    return false;
  }

  show(data) {
    this.data = data;
    this.missing.hidden = true;
    this.rest.hidden = this.head.hidden = false;
    this.draw();
    this.log.show(data.events ?? [], this.frame.now());
    if (!this.chosen && data.signals.length) this.choose(this.data.signals.find(({ name }) => name === this.wish) ?? this.first(data.signals));
    const row = data.signals.find(({ name }) => name === this.chosen);
    if (row) this.chart.push(row);
  }

  /** A number that has a value, if there is one, tells the most. */
  first(signals) {
    return signals.find(({ type, value }) => type === "float" && value !== null) ?? signals.find(({ value }) => value !== null) ?? signals[0];
  }

  choose(row, byHand) {
    this.chosen = row.name;
    this.chart.choose(row);
    for (const other of this.rows.values()) other.sayChosen(row.name);
    if (!byHand) return;
    history.replaceState(null, "", `${location.pathname}?signal=${encodeURIComponent(row.name)}`);
    this.chart.push(row);
    this.chart.element.scrollIntoView({ block: "nearest" });
  }

  draw() {
    if (!this.data) return;
    const now = this.frame.now();
    this.drawHead(now);
    const { signals } = this.data;
    const words = this.filter.value.trim().toLowerCase();
    const found = words ? signals.filter((row) => `${row.name} ${row.description ?? ""} ${row.address ?? ""}`.toLowerCase().includes(words)) : signals;
    const folded = !this.all && found.length > FEW + 5;
    // What is in trouble is never folded away.
    const shown = folded ? found.filter((row, i) => i < FEW || row.quality !== "good" || row.name === this.chosen) : found;
    arrange(this.body, shown.flatMap((signal) => {
      let row = this.rows.get(signal.name);
      if (!row) this.rows.set(signal.name, row = new Row(signal.name, () => this.choose(this.data.signals.find(({ name }) => name === signal.name), true)));
      row.show(signal, now);
      row.sayChosen(this.chosen);
      return row.elements;
    }));
    this.more.hidden = !folded && !(this.all && found.length > FEW + 5);
    this.more.setAttribute("aria-expanded", String(this.all));
    say(this.more, this.all ? t("show_less") : t("show_all", { n: count(found.length) }));
    say(this.number, count(signals.length));
    say(this.found, words && (found.length ? plural("found", found.length, { n: count(found.length) }) : t("none_found")));
  }

  drawHead(now) {
    const { machine, connection } = this.data;
    mark(this.head, "state", machine.state);
    this.drawDay();
    sayState(this.state, machine.state, t(machine.state) ?? machine.state);
    const path = Array.isArray(machine.path) ? machine.path : String(machine.path ?? "").split("/");
    sayParts(this.place, [path.slice(0, -1).join(" / "), { own: machine.description ?? "" }]);
    sayParts(this.why, [sinceOf(machine, now), ...reasonParts(machine)]);
    this.doing.hidden = !machine.doing;
    if (machine.doing) {
      mark(this.doing, "doing", machine.doing.state);
      if (!this.doing.children.length) this.doing.append(el("strong"));
      sayParts(this.doing.firstChild, [doingOf(machine.doing.state), { own: machine.doing.reason }, sinceOf(machine.doing, now)]);
    }
    this.drawFault(machine);
    const old = machine.age_s === null || machine.age_s === undefined ? null : machine.age_s + (now - this.data.t) / 1000;
    const counters = connection?.counters ?? {};
    const facts = [
      ["newest_reading", old === null ? "–" : age(old)],
      ["oee", machine.oee === null || machine.oee === undefined ? "" : percent(machine.oee)],
      ["connection", connection && lines(connection.name, connection.protocol, connection.endpoint)],
      ...COUNTERS.filter((name) => counters[name]).map((name) => [`counter.${name}`, count(counters[name])]),
    ].filter(([, text]) => text);
    if (this.facts.children.length !== facts.length) this.facts.replaceChildren(...facts.map(() => el("div", el("dt"), el("dd"))));
    facts.forEach(([name, text], i) => {
      const [term, value] = this.facts.children[i].children;
      say(term, t(name));
      say(value, text);
    });
  }

  drawFault({ state, fault, reason }) {
    const trouble = state === "offline" || state === "degraded";
    const key = trouble ? `${fault}|${state}` : "";
    this.fault.hidden = !trouble;
    if (this.fault.dataset.key === key) return;
    this.fault.dataset.key = key;
    this.fault.replaceChildren();
    if (!trouble) return;
    const details = disclosure(t(state === "offline" ? "why_offline" : "why_degraded"), (body) => why(body, fault, reason));
    details.open = state === "offline";
    this.fault.append(details);
  }
}

class Row {
  constructor(name, choose) {
    this.name = name;
    this.cache = "";
    this.button = button("plain", "", choose);
    this.button.append(...breakable(name));
    this.button.setAttribute("aria-pressed", "false");
    this.description = el("span.note");
    this.number = with_(el("span.number"), { translate: "no" });
    this.unit = el("span.unit");
    this.said = el("span.said");
    this.last = el("span.note");
    this.quality = el("td.quality", this.said, this.last);
    this.why = el("td");
    this.why.colSpan = 6;
    this.below = el("tr.why", this.why);
    this.age = el("td.age");
    this.span = el("td.span");
    this.address = el("td.address");
    this.value = el("td.value", this.number, " ", this.unit);
    this.element = el("tr", with_(el("th.signal", this.button, this.description), { scope: "row" }), this.value, this.quality, this.age, this.span, this.address);
  }

  sayChosen(name) {
    const pressed = String(this.name === name);
    if (this.button.getAttribute("aria-pressed") !== pressed) this.button.setAttribute("aria-pressed", pressed);
  }

  /** With a second line where there is a question. */
  get elements() { return this.cache ? [this.element, this.below] : [this.element]; }

  show(signal, now) {
    const old = signal.t === null ? "–" : age((now - signal.t) / 1000);
    if (this.old !== old) this.age.textContent = this.old = old;
    if (this.signal === signal) return; // only time has passed
    this.sayWhatItIs(signal);
    this.signal = signal;
    mark(this.element, "quality", kindOf(signal.quality));
    mark(this.below, "quality", kindOf(signal.quality));
    const text = textOf(signal);
    say(this.number, text || (signal.text === null ? "–" : ""));
    this.number.classList.toggle("long", text.length > 16);
    say(this.unit, signal.text === null ? "" : unit(signal.unit));
    const since = signal.since_ms === undefined ? "" : ` ${t("since", { time: moment(signal.since_ms, now) })}`;
    say(this.said, qualityOf(signal.quality) + since);
    const last = signal.last ? t("last", { value: withUnit({ ...signal.last, type: signal.type, unit: signal.unit }), time: moment(signal.last.t, now) }) : "";
    say(this.last, last);
    say(this.span, signal.min === null || signal.min === undefined ? "–" : `${number(signal.min)} … ${number(signal.max)}`);
    this.sayWhy(signal);
  }

  /** What hardly ever changes: of two thousand signals it is not gone through each second. */
  sayWhatItIs(signal) {
    const { description, address } = this.signal ?? {};
    if (this.signal && description === signal.description && address === signal.address) return;
    sayParts(this.description, [descriptionOf(signal)]);
    sayParts(this.address, [signal.address ? formulaOf(signal, signal.address) : "–"]);
  }

  sayWhy({ quality, fault }) {
    const key = quality === "good" ? "" : `${quality}|${fault}`;
    if (this.cache === key) return;
    this.cache = key;
    this.why.replaceChildren();
    if (!key) return;
    const details = disclosure(t("why_signal", { name: this.name }), (body) => why(body, fault, ""));
    this.why.append(details);
  }
}
