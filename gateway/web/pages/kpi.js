// The figures of production and energy: each machine, each interval, and what every figure was worked out from.

import { disclosure, el, link, say, with_ } from "./dom.js";
import { count, duration, figureZone, foreign, interval, percent, rough, unit } from "./format.js";
import { doubts } from "./doubts.js";
import { english, formulaOf, nodes, qualityOf, sayParts } from "./said.js";
import { t } from "./texts.js";
import { breakable, kindOf, lines } from "./words.js";

const MAIN = ["oee", "availability", "performance", "quality", "good", "reject", "energy", "energy_per_part", "co2e", "power"];
const NOT_YET = ["bad:not-available", "bad:waiting-for-data"];
const ORDER = ["shift", "hour", "day", "demand"];

export class Kpi {
  stream = "view=kpi";

  constructor(frame) {
    this.frame = frame;
    this.note = el("p.note", t("connecting"));
    this.list = el("div.figures");
    this.zone = el("p.note");
    this.element = el("div", el("h1", t("kpi")), el("p.note", t("kpi_note")), this.zone, this.note, this.list);
    this.cards = new Map();
  }

  title() { return t("kpi"); }

  show(data) {
    const machines = data.machines.filter(({ figures }) => figures.length);
    say(this.note, machines.length ? "" : t("no_kpi"));
    // Where the plant has no zone, its shifts are UTC and all else is in the reader's time.
    say(this.zone, machines.length && !data.gateway?.timezone && foreign(figureZone()) && t("zone_of_figures", { zone: figureZone() }));
    for (const machine of machines) {
      let card = this.cards.get(machine.name);
      if (!card) {
        card = new Card(machine.name);
        this.cards.set(machine.name, card);
        this.list.append(card.element);
      }
      card.show(machine.figures, data.t);
    }
  }
}

class Card {
  constructor(name) {
    this.intervals = new Map();
    this.element = with_(el("section.card.pad.kpi", el("h2", link(`/machines/${encodeURIComponent(name)}`, ""))), { "aria-label": name });
    this.element.querySelector("a").append(...breakable(name));
  }

  show(figures, now) {
    const kinds = [...new Set(figures.map(({ interval }) => interval))].sort((a, b) => rank(ORDER, a) - rank(ORDER, b));
    for (const kind of kinds) {
      if (!this.intervals.has(kind)) {
        const made = { when: el("span.note"), doubt: el("p.note"), list: el("div.row"), others: el("div.row"), figures: new Map() };
        made.more = disclosure(t("more_figures"), (body) => body.append(made.others));
        made.more.hidden = true;
        this.intervals.set(kind, made);
        this.element.append(el("h3", t(`interval.${kind}`) ?? kind, " ", made.when), made.doubt, made.list, made.more);
      }
      const shown = this.intervals.get(kind);
      const mine = figures.filter((figure) => figure.interval === kind).sort((a, b) => rank(MAIN, a.figure) - rank(MAIN, b.figure));
      const { from_ms: from, to_ms: to, name, complete, uncertain } = mine[0];
      say(shown.when, lines(name, from && to && interval(from, to, now), kind === "demand" ? "" : complete === false && t("still_running")));
      sayParts(shown.doubt, uncertain ? doubts(uncertain) : [], uncertain && t("doubted", { why: "" }), "; ");
      for (const figure of mine) {
        if (!shown.figures.has(figure.figure)) {
          const made = new Figure(figure.figure);
          shown.figures.set(figure.figure, made);
          const main = MAIN.includes(figure.figure);
          (main ? shown.list : shown.others).append(made.element);
          if (!main) shown.more.hidden = false;
        }
        shown.figures.get(figure.figure).show(figure);
      }
    }
  }
}

const rank = (list, name) => (list.includes(name) ? list.indexOf(name) : list.length);

class Figure {
  constructor(name) {
    this.value = el("span.big");
    this.quality = el("span.said");
    this.body = null;
    this.element = disclosure("", (body) => {
      this.body = body;
      this.fill();
    });
    this.element.classList.add("figure-box");
    this.element.querySelector("summary").append(el("span.name", t(`figure.${name}`) ?? name), this.value, this.quality);
    this.element.dataset.figure = name;
  }

  show(figure) {
    this.figure = figure;
    say(this.value, valueOf(figure.value, figure.unit));
    const quality = figure.quality ?? "good";
    // What cannot be worked out yet is no trouble.
    this.element.dataset.quality = NOT_YET.includes(quality) ? "waiting" : kindOf(quality);
    say(this.quality, quality === "good" ? "" : qualityOf(quality));
    this.fill();
  }

  fill() {
    const inputs = Object.entries(this.figure.inputs ?? {});
    const key = JSON.stringify(inputs);
    if (!this.body || this.key === key) return;
    this.key = key;
    const plain = inputs.map(([path, input]) => [path.replace(/^(shift|hour|day|demand)\./, ""), input]);
    const rows = plain.map(([name, input]) => el("div", el("dt", t(`input.${name}`) ?? name), el("dd", inputOf(name, input))));
    const { formula, reference } = this.figure;
    const written = formula && nodes([formulaOf({ name: this.figure.figure, worked_out: true }, formula)]);
    this.body.replaceChildren(written ? el("p", el("code", ...written)) : "", rows.length ? el("dl", ...rows) : el("p.note", t("no_inputs")), reference ? english(reference, "p.note") : "");
  }
}

/** An input is a plain value, or one with its unit. */
function inputOf(name, input) {
  if (input === null || typeof input !== "object") return typeof input === "number" && /_time$|_cycle$/.test(name) ? valueOf(input, "s") : valueOf(input, "");
  if (Object.hasOwn(input, "value")) return valueOf(input.value, input.unit ?? "");
  return Object.entries(input).map(([key, value]) => `${t(`doing.${key}`) ?? key} ${inputOf(name, value)}`).join(", ") || "–";
}

/** Shares as percent, times as durations, all else as it is with its unit. */
function valueOf(value, code) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return typeof value === "boolean" ? t(value ? "yes" : "no") : String(value);
  if (code === "1") return Number.isInteger(value) && Math.abs(value) > 1 ? count(value) : percent(value);
  if (code === "s" && value >= 60) return duration(value);
  return `${rough(value)} ${unit(code)}`.trim();
}
