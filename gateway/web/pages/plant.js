// The plant: a tile for each machine, and on top how the whole is.

import { get } from "./api.js";
import { arrange, el, link, mark, say, sayState, with_ } from "./dom.js";
import { age, bytes, count, percent, rough, unit } from "./format.js";
import { reasonParts, sayParts } from "./said.js";
import { strip } from "./strip.js";
import { plural, t } from "./texts.js";
import { breakable, doingOf, lines, sinceOf, textOf } from "./words.js";

const NAMED = 3; // machines that the line on top names
const STRIPS = 60_000; // ms between two looks at the last day
const PARTS = ["broker", "store", "disk", "clock"];
const SYMBOLS = { good: "●", uncertain: "▲", bad: "■" };

export class Plant {
  stream = "view=plant";

  constructor(frame) {
    this.frame = frame;
    this.tiles = new Map();
    this.data = null;
    this.strips = { machines: {} };
    this.verdict = el("h1.verdict");
    this.shape = el("span");
    this.sentences = el("span");
    this.verdict.append(this.shape, this.sentences);
    this.alert = with_(el("p.alert"), { role: "alert" });
    this.alert.hidden = true;
    this.parts = el("ul.parts");
    this.number = el("span.note");
    this.found = with_(el("p.found"), { role: "status" });
    this.filter = with_(el("input"), { id: "filter", type: "search", autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
    this.trouble = with_(el("input"), { id: "trouble", type: "checkbox" });
    this.filter.oninput = this.trouble.onchange = () => this.draw();
    const form = with_(el("form.bar",
      el("h2", t("machines"), " ", this.number), this.found,
      el("span.check", this.trouble, with_(el("label", t("only_trouble")), { for: "trouble" })),
      with_(el("label", t("filter_machines")), { for: "filter" }), this.filter), { role: "search" });
    form.onsubmit = (event) => event.preventDefault();
    this.list = with_(el("section.tiles"), { "aria-label": t("machines") });
    this.legend = el("p.legend.note", el("span", t("legend")), ...["online", "degraded", "offline", "unknown"].map((state) => el("span.key", el(`i.s-${state}`), t(state))));
    this.legend.hidden = true;
    this.element = el("div.plant", with_(el("div", this.verdict), { role: "status" }), this.alert, this.parts, form, this.list, this.legend);
    this.look();
    this.clock = setInterval(() => this.look(), STRIPS);
  }

  title() { return this.data ? [...this.sentences.children].map((sentence) => sentence.textContent).join(" ") : t("plant"); }
  stop() { clearInterval(this.clock); }
  tick() { this.draw(); }

  show(data) {
    this.data = data;
    this.frame.tell(data);
    this.draw();
  }

  async look() {
    const strips = await get("/api/v1/strips?hours=24").catch(() => null);
    if (!strips) return;
    this.strips = strips;
    for (const tile of this.tiles.values()) tile.strip(strips);
    this.legend.hidden = !Object.keys(strips.machines ?? {}).length;
  }

  draw() {
    if (!this.data) return;
    const { machines } = this.data;
    const now = this.frame.now();
    this.sayVerdict(machines);
    this.sayParts(now);
    const words = this.filter.value.trim().toLowerCase();
    const wanted = machines.filter((m) =>
      (!this.trouble.checked || troubled(m)) && [m.name, m.description ?? "", ...pathOf(m)].join("/").toLowerCase().includes(words));
    arrange(this.list, wanted.map((machine) => {
      if (!this.tiles.has(machine.name)) {
        const tile = new Tile(machine.name);
        tile.strip(this.strips);
        this.tiles.set(machine.name, tile);
      }
      const tile = this.tiles.get(machine.name);
      tile.show(machine, now, (now - this.data.t) / 1000);
      return tile.element;
    }));
    say(this.number, count(machines.length));
    const searching = words || this.trouble.checked;
    say(this.found, searching && (wanted.length ? plural("machines_found", wanted.length, { n: count(wanted.length) }) : t(words ? "no_machine_found" : "no_trouble")));
  }

  sayVerdict(machines) {
    const all = machines.length;
    const of = (state) => machines.filter((machine) => machine.state === state);
    const some = (key, list) => list.length && plural(key, list.length, { n: count(list.length), all: count(all), names: named(list) });
    const text = ["offline", "degraded"].map((state) => [state, some(`n_of_all_${state}`, of(state))]).filter(([, words]) => words);
    const parts = PARTS.map((part) => conditionOf(this.data, part)).filter(({ state, minor }) => !minor && (state === "offline" || state === "degraded"));
    const worst = of("offline").length || parts.some(({ state }) => state === "offline") ? "offline" : text.length || parts.length || !all ? "degraded" : "online";
    if (!text.length) text.push(["online", !all ? t("no_machines") : plural("all_online", all, { n: count(all) })]);
    mark(this.verdict, "state", worst);
    sayState(this.shape, worst, "");
    // Only a sentence that has changed is read out.
    if (this.sentences.children.length !== text.length) this.sentences.replaceChildren(...text.map(() => el("span")));
    text.forEach(([state, words], i) => {
      mark(this.sentences.children[i], "state", state);
      say(this.sentences.children[i], words);
    });
    const { trouble } = this.data.buffer ?? {};
    this.alert.hidden = !trouble;
    if (trouble) sayState(this.alert, "offline", t("disk_alert", { why: diskReason(trouble) }));
    else say(this.alert, "");
  }

  sayParts(now) {
    arrange(this.parts, PARTS.map((part) => {
      const condition = conditionOf(this.data, part);
      const item = this.parts[part] ??= { element: el("li"), state: el("strong"), why: el("span.note") };
      if (!item.element.children.length) item.element.append(el("span.name", t(part)), item.state, item.why);
      mark(item.element, "state", condition.state);
      sayState(item.state, condition.state, condition.word ?? t(condition.state) ?? condition.state);
      const trouble = condition.state === "offline" || condition.state === "degraded";
      sayParts(item.why, trouble ? [...reasonParts(condition), sinceOf(condition, now)] : [condition.note ?? ""]);
      return item.element;
    }));
  }
}

const pathOf = ({ path }) => (Array.isArray(path) ? path : String(path ?? "").split("/"));
const troubled = ({ state, signals }) => state === "offline" || state === "degraded" || (signals?.bad ?? 0) > 0;

function named(machines) {
  const names = machines.slice(0, NAMED).map(({ name }) => name);
  if (machines.length > NAMED) names.push(t("n_more", { n: count(machines.length - NAMED) }));
  return names.join(", ");
}

/** Broker and store have a condition; disk and clock get one, with their own words. */
export function conditionOf(data, part) {
  if (part === "disk") {
    const { trouble, bytes: used, max_bytes: most, unsafe } = data.buffer ?? {};
    const full = most ? used / most : 0;
    if (trouble) return { state: "offline", word: t("disk_failing"), words: [diskReason(trouble), unsafe && t("unsafe", { n: count(unsafe) })] };
    if (full > 0.8) return { state: "degraded", word: t("buffer_full", { percent: percent(full) }), words: [t("buffer_of", { used: bytes(used), all: bytes(most) })] };
    return { state: "online", word: t("writable"), note: most ? t("buffer_full", { percent: percent(full) }) : "" };
  }
  if (part === "clock") {
    const clock = data.clock ?? {};
    if (clock.trusted === false) return { ...clock, state: "degraded", word: t("clock_wrong") };
    // It may be right all the same, but nobody knows: something to mend, and no trouble of the plant.
    if (clock.synchronized === false) return { ...clock, state: "degraded", minor: true, word: t("clock_unsynchronized"), words: [t("clock_drifts")] };
    return { ...clock, state: "online", word: t("clock_right") };
  }
  return data[part] ?? { state: "unused" };
}

/** In front of what the system says there may be the place it says it of. */
export function diskReason(trouble) {
  const [, place = "", what] = /^(.*: )?(.*)$/s.exec(trouble);
  const [, size] = /^less than (.+) would be left free$/.exec(what) ?? [];
  return place + (size ? t("disk.reserve", { size }) : t(`disk.${what}`) ?? what);
}

class Tile {
  constructor(name) {
    this.name = name;
    this.state = el("p.state");
    this.place = el("p.place");
    this.why = el("p.why");
    this.doing = el("p.doing");
    this.headline = el("dl.headline");
    this.figures = [];
    this.age = el("p.fact");
    this.counts = el("p.fact.counts");
    this.oee = el("p.fact.oee");
    this.day = el("div.day");
    const head = el("div.head", el("h3", link(`/machines/${encodeURIComponent(name)}`, "")), this.state, this.place, this.why);
    head.querySelector("a").append(...breakable(name));
    this.element = with_(el("article.machine", head, this.doing, this.headline, el("div.facts", this.age, this.counts, this.oee), this.day), { "aria-label": name });
  }

  strip({ machines, from_ms, to_ms }) {
    const stretches = machines && Object.hasOwn(machines, this.name) ? machines[this.name] : null;
    this.strips = stretches?.length ? [stretches, from_ms, to_ms] : null;
    this.drawDay(this.element.dataset.state);
  }

  /** Its right end is how the machine is now: it may have changed since the strip was asked for. */
  drawDay(state) {
    this.drawn = state;
    if (this.strips) this.day.replaceChildren(strip(...this.strips, state));
  }

  show(machine, now, since) {
    mark(this.element, "state", machine.state);
    if (this.drawn !== machine.state) this.drawDay(machine.state);
    sayState(this.state, machine.state, t(machine.state) ?? machine.state);
    sayParts(this.place, [pathOf(machine).slice(0, -1).join(" / "), { own: machine.description ?? "" }]);
    sayParts(this.why, [sinceOf(machine, now), ...reasonParts(machine)]);
    this.sayDoing(machine.doing, now);
    this.sayHeadline(machine.headline ?? []);
    // Ages were worked out when the data were made; they grow since then.
    const old = machine.age_s === null || machine.age_s === undefined ? null : machine.age_s + since;
    say(this.age, old === null ? t("no_reading") : t("newest", { age: age(old) }));
    this.sayCounts(machine.signals ?? {});
    this.oee.hidden = machine.oee === null || machine.oee === undefined;
    if (!this.oee.hidden) say(this.oee, `OEE ${percent(machine.oee)}`);
  }

  sayDoing(doing, now) {
    this.doing.hidden = !doing;
    if (!doing) return;
    mark(this.doing, "doing", doing.state);
    if (!this.doing.children.length) this.doing.append(el("strong"), el("span.note"));
    say(this.doing.firstChild, doingOf(doing.state));
    sayParts(this.doing.lastChild, [{ own: doing.reason }, sinceOf(doing, now)]);
  }

  sayHeadline(rows) {
    this.headline.hidden = !rows.length;
    while (this.figures.length < rows.length) {
      const figure = { name: el("dt"), number: el("span.number"), unit: el("span.unit"), value: el("dd") };
      figure.value.append(figure.number, " ", figure.unit);
      figure.element = el("div", figure.name, figure.value);
      this.figures.push(figure);
    }
    arrange(this.headline, this.figures.slice(0, rows.length).map((figure, i) => {
      const row = rows[i];
      say(figure.name, row.name);
      const bad = row.text === null || row.text === undefined;
      const text = bad ? "–" : row.type === "float" && typeof row.value === "number" ? rough(row.value) : textOf(row);
      say(figure.number, text);
      figure.value.classList.toggle("many", text.length > 7);
      say(figure.unit, bad ? "" : unit(row.unit));
      mark(figure.element, "quality", row.quality.split(":")[0]);
      return figure.element;
    }));
  }

  sayCounts(signals) {
    const parts = ["good", "uncertain", "bad"].filter((kind) => signals[kind] || kind === "good");
    const key = JSON.stringify(signals);
    if (this.counts.dataset.key === key) return;
    this.counts.dataset.key = key;
    this.counts.replaceChildren(...parts.map((kind) => {
      const span = el("span", with_(el("i", SYMBOLS[kind]), { "aria-hidden": "true" }), ` ${count(signals[kind] ?? 0)} ${t(`quality.${kind}`)}`);
      span.dataset.quality = kind;
      return span;
    }));
  }
}
