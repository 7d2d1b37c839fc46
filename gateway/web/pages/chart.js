// One signal over time: a line where it is good, a band where it is bad, nothing where nothing is known.
//
//   history ─┐                                wheel, two fingers, buttons, + and -   zoom
//   stream ──┴▶ points [t, value, quality] ─▶ drag, buttons, arrow keys              pan

import { get } from "./api.js";
import { button, disclosure, el, heads, say, svg, with_ } from "./dom.js";
import { ahead, at, count, number, period, tick, timeOfDay, unit } from "./format.js";
import { descriptionOf, formulaOf, nodes, qualityOf, sayParts } from "./said.js";
import { t } from "./texts.js";
import { kindOf, refusal, withUnit } from "./words.js";

const SPANS = [["15min", 900e3], ["1h", 3600e3], ["8h", 8 * 3600e3], ["24h", 864e5], ["7d", 7 * 864e5]];
const SHORTEST = 10e3, LONGEST = 400 * 864e5; // ms from one end to the other
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000].map((s) => s * 1000);
const POINTS = 800; // that are asked for: more than a screen has columns
const QUIET = 600e3; // ms: a signal that reports changes only may be silent for so long and is not missing
const RELOAD = 30e3; // ms after which the newest part is asked for again
const KEPT = 2000; // points of the stream
const ROWS = 200; // of the table
const LEFT = 58, RIGHT = 10, TOP = 10, BOTTOM = 24;

export class Chart {
  constructor(frame, machine) {
    this.frame = frame;
    this.machine = machine;
    this.span = 3600e3;
    this.end = null; // null: now, and it goes on
    this.points = [];
    this.seen = []; // from the stream, of the chosen signal
    this.row = null;
    this.asked = 0;
    this.fingers = new Map();
    this.heading = el("h2");
    this.value = el("p.reading");
    this.facts = el("dl.facts");
    this.note = with_(el("p.note"), { role: "status" });
    this.picture = svg("svg", { class: "chart", tabindex: "0", role: "img" });
    this.picture.chart = this; // it can be asked from outside: by tests, in the console
    this.spans = SPANS.map(([name, span]) => {
      const choice = button("span", t(`span.${name}`), () => this.move(span, null));
      choice.span = span;
      return choice;
    });
    this.live = button("span", t("chart.now"), () => this.move(this.span, null));
    this.bar = with_(el("div.chartbar",
      el("div", ...this.spans),
      el("div", this.tool("◀", "chart.earlier", () => this.pan(-0.5)), this.tool("▶", "chart.later", () => this.pan(0.5)),
        this.tool("+", "chart.in", () => this.zoom(0.5)), this.tool("−", "chart.out", () => this.zoom(2)), this.live)), { role: "group", "aria-label": t("chart.tools") });
    this.table = el("div.scroll");
    this.folded = disclosure(t("chart.table"), () => this.fillTable());
    this.folded.querySelector(".inside").append(this.table);
    this.folded.addEventListener("toggle", () => this.fillTable());
    this.element = with_(el("section.card.charted", el("div.charthead", this.heading, this.value), this.facts, this.bar, this.picture,
      el("p.note.hint", t("chart.hint")), this.note, this.folded), { "aria-label": t("chart.title") });
    this.element.hidden = true;
    this.listen();
    this.sized = new ResizeObserver(() => this.draw());
    this.sized.observe(this.picture);
  }

  tool(sign, key, act) {
    return with_(button("tool", sign, act), { "aria-label": t(key), title: t(key) });
  }

  stop() { this.sized.disconnect(); }

  /** Show another signal. */
  choose(row) {
    if (this.row?.name !== row.name) {
      this.points = [];
      this.seen = [];
      this.problem = "";
    }
    this.row = row;
    this.element.hidden = false;
    say(this.heading, row.name);
    this.load();
  }

  /** The newest reading of the chosen signal, from the stream. */
  push(row) {
    const last = this.seen.at(-1);
    this.row = row;
    say(this.value, row.text === null ? qualityOf(row.quality) : withUnit(row));
    this.value.dataset.quality = kindOf(row.quality);
    this.sayFacts(row);
    // A text that a machine says may be cut for people; what is drawn is the value.
    const time = row.t ?? this.frame.now();
    if (!last || last[0] < time || last[2] !== row.quality) this.seen.push([time, row.value, row.quality]);
    if (this.seen.length > KEPT) this.seen.splice(0, KEPT / 2);
    if (this.end === null && Date.now() - this.asked > Math.max(RELOAD, this.span / 200)) this.load();
    else if (this.end === null) this.draw();
  }

  sayFacts(row) {
    const facts = [
      ["description", row.description && descriptionOf(row)], ["address", row.address && formulaOf(row, row.address)], ["range", row.range && rangeOf(row)],
      ["min_max", row.min !== null && row.min !== undefined ? `${number(row.min)} … ${number(row.max)} ${unit(row.unit ?? "")}` : ""],
      ["poll", row.poll_s && period(row.poll_s)], ["states", row.states && { own: statesOf(row.states) }],
    ].filter(([, text]) => text && text.own !== "");
    const key = JSON.stringify(facts);
    if (this.facts.dataset.key === key) return;
    this.facts.dataset.key = key;
    this.facts.replaceChildren(...facts.map(([name, text]) => el("div", el("dt", t(name)), el("dd", ...nodes([text])))));
  }

  // --- which part of the time ----------------------------------------------------------------------------------------

  get to() { return this.end ?? this.frame.now(); }
  get from() { return this.to - this.span; }

  move(span, end) {
    this.span = Math.min(LONGEST, Math.max(SHORTEST, span));
    this.end = end !== null && end < this.frame.now() ? end : null;
    this.draw();
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.load(), 150);
  }

  pan(part) { this.move(this.span, this.to + part * this.span); }

  /** `x`: 0 … 1, the place that stays where it is; the right end while it follows the present. */
  zoom(factor, x = this.end === null ? 1 : 0.5) {
    const span = Math.min(LONGEST, Math.max(SHORTEST, this.span * factor));
    this.move(span, this.end === null && x > 0.9 ? null : this.from + this.span * x + span * (1 - x));
  }

  async load() {
    const { row, from, to } = this;
    if (!row) return;
    this.asked = Date.now();
    const margin = this.span / 10; // so that a line goes on beyond the edges
    const query = new URLSearchParams({ machine: this.machine, signal: row.name, from: Math.floor(from - margin), to: Math.ceil(to + margin), points: POINTS });
    try {
      const answer = await get(`/api/v1/history?${query}`);
      if (this.row?.name !== row.name) return;
      const first = !this.points.length;
      this.points = answer.points;
      this.problem = "";
      if (first) this.fillTable(); // it may have been opened before anything was there
    } catch (error) {
      if (this.row?.name !== row.name) return;
      this.problem = error.status === 0 ? "" : refusal(error);
    }
    this.draw();
  }

  // --- drawing -------------------------------------------------------------------------------------------------------

  /** What is stored, and behind it what has come since. */
  all() {
    const last = this.points.at(-1)?.[0] ?? -Infinity;
    return [...this.points, ...this.seen.filter(([time]) => time > last)];
  }

  draw() {
    const width = this.picture.clientWidth, height = this.picture.clientHeight;
    if (!this.row || !width || !height) return;
    const { from, to } = this;
    const all = this.all();
    const first = Math.max(0, all.findLastIndex(([time]) => time < from));
    const points = all.slice(first).filter(([time], i, rest) => time <= to || (i && rest[i - 1][0] < to));
    const scale = scaleOf(points, this.row);
    const x = (time) => LEFT + (time - from) / (to - from) * (width - LEFT - RIGHT);
    const y = (value) => height - BOTTOM - (scale.place(value) - scale.low) / (scale.high - scale.low) * (height - TOP - BOTTOM);
    const parts = [];
    for (const mark of scale.marks) {
      const yy = y(mark.value);
      parts.push(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: yy, y2: yy }));
      parts.push(svg("text", { class: "ytick", x: LEFT - 6, y: yy + 4 }, mark.text));
    }
    const step = STEPS.find((step) => (to - from) / step <= width / 85) ?? STEPS.at(-1);
    const zone = -ahead(to); // a mark a day is at midnight of the plant
    for (let mark = Math.ceil((from - zone) / step) * step + zone; mark <= to; mark += step) {
      parts.push(svg("line", { class: "grid", x1: x(mark), x2: x(mark), y1: TOP, y2: height - BOTTOM }));
      if (x(mark) > LEFT + 20 && x(mark) < width - RIGHT - 20) parts.push(svg("text", { class: "xtick", x: x(mark), y: height - 7 }, tick(mark, step)));
    }
    const drawn = this.lines(points, scale, x, y, to, height);
    const hatch = svg("pattern", { id: "hatch", width: 8, height: 8, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("rect", { width: 3, height: 8 }));
    const clip = svg("clipPath", { id: "plot" }, svg("rect", { x: LEFT, y: 0, width: Math.max(0, width - LEFT - RIGHT), height }));
    this.picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.picture.replaceChildren(hatch, clip, ...parts, svg("g", { "clip-path": "url(#plot)" }, ...drawn.parts));
    this.sayAll(points.filter(([time]) => time >= from && time <= to), drawn);
    for (const choice of this.spans) choice.setAttribute("aria-pressed", String(choice.span === this.span));
    this.live.setAttribute("aria-pressed", String(this.end === null));
  }

  lines(points, scale, x, y, to, height) {
    const steps = scale.steps;
    const longest = longestPause(points, this.row);
    const parts = [], dots = [];
    let path = "", doubtful = "", bad = 0, gaps = 0, before = null, alone = false;
    const close = () => { if (alone && before) dots.push(svg("circle", { class: "dot", cx: x(before[0]), cy: y(before[1]), r: 2.5 })); alone = false; };
    points.forEach((point, i) => {
      const [time, value, quality] = point;
      const kind = quality === undefined || quality === "good" ? "good" : quality.split(":")[0];
      if (kind === "bad" || value === null) {
        close();
        const end = points[i + 1]?.[0] ?? Math.min(to, this.frame.now());
        const left = x(time), width = Math.max(2, x(end) - left);
        parts.push(svg("rect", { class: "badband", x: left, y: TOP, width, height: height - TOP - BOTTOM }));
        parts.push(svg("rect", { class: "badmark", x: left, y: height - BOTTOM - 5, width, height: 5 }));
        bad++;
        before = null;
        return;
      }
      const here = [time, value, kind];
      if (before && time - before[0] > longest) {
        gaps++;
        parts.push(svg("line", { class: "gapmark", x1: x(before[0]), x2: x(time), y1: height - BOTTOM - 2, y2: height - BOTTOM - 2 }));
        close();
        before = null;
      }
      const to_ = `${x(time).toFixed(1)} ${y(value).toFixed(1)}`;
      const segment = before ? (steps ? `H${x(time).toFixed(1)}V${y(value).toFixed(1)}` : `L${to_}`) : `M${to_}`;
      if (kind === "uncertain" && before) doubtful += `M${x(before[0]).toFixed(1)} ${y(before[1]).toFixed(1)}${segment}`;
      alone = !before;
      path += kind === "uncertain" && before ? `M${to_}` : segment;
      before = here;
    });
    if (before && steps && this.end === null && to - before[0] < longest) path += `H${x(to).toFixed(1)}`;
    close();
    parts.push(svg("path", { class: "line", d: path || "M0 0" }), svg("path", { class: "line doubtful", d: doubtful || "M0 0" }), ...dots);
    return { parts, bad, gaps };
  }

  sayAll(points, { bad, gaps }) {
    const values = points.filter(([, value, quality]) => typeof value === "number" && kindOf(quality ?? "good") !== "bad").map(([, value]) => value);
    const range = values.length ? t("chart.range", { min: number(Math.min(...values)), max: number(Math.max(...values)), unit: unit(this.row.unit ?? "") }) : "";
    const text = [
      points.length ? t("chart.points", { n: count(points.length) }) : t("chart.nothing"), range,
      bad && t("chart.bad", { n: count(bad) }), gaps && t("chart.gaps", { n: count(gaps) }),
    ].filter(Boolean).join(", ");
    this.picture.setAttribute("aria-label", t("chart.said", { signal: this.row.name, from: at(this.from), to: at(this.to), text }));
    sayParts(this.note, this.problem ? [this.problem, t("chart.only_live")] : [points.length ? "" : t("chart.nothing")], "", " ");
    if (this.folded.open && this.end !== null) this.fillTable();
  }

  fillTable() {
    if (!this.row || !this.folded.open) return;
    const { from, to } = this;
    const points = this.all().filter(([time]) => time >= from && time <= to).slice(-ROWS).reverse();
    const body = points.map(([time, value, quality = "good"]) => {
      const text = value === null ? "–" : typeof value === "number" ? `${number(value)} ${unit(this.row.unit ?? "")}` : typeof value === "boolean" ? t(String(value)) : value;
      return el("tr", with_(el("th", at(time)), { scope: "row" }), el("td.value", text), el("td", qualityOf(quality)));
    });
    const caption = el("caption", t("chart.newest", { n: count(points.length), time: timeOfDay(this.to) }));
    this.table.replaceChildren(el("table", caption, heads(["", t("time")], ["value", t("value")], ["", t("quality")]), el("tbody", ...body)));
    with_(this.table, { tabindex: "0", role: "region", "aria-label": t("chart.table") });
  }

  // --- wheel, fingers, keys ------------------------------------------------------------------------------------------

  listen() {
    const { picture } = this;
    const place = (event) => {
      const box = picture.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - box.left - LEFT) / Math.max(1, box.width - LEFT - RIGHT)));
    };
    picture.addEventListener("wheel", (event) => {
      // The page still scrolls with the wheel, until somebody has chosen the chart.
      if (document.activeElement !== picture && !event.ctrlKey) return;
      event.preventDefault();
      this.zoom(event.deltaY > 0 ? 1.25 : 0.8, place(event));
    }, { passive: false });
    picture.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      picture.setPointerCapture(event.pointerId);
      this.fingers.set(event.pointerId, place(event));
      picture.focus({ preventScroll: true });
    });
    picture.addEventListener("pointermove", (event) => {
      if (!this.fingers.has(event.pointerId)) return;
      const before = [...this.fingers.values()];
      this.fingers.set(event.pointerId, place(event));
      const now = [...this.fingers.values()];
      if (now.length === 1) this.pan(before[0] - now[0]);
      else if (now.length === 2) this.pinch(before, now);
    });
    for (const name of ["pointerup", "pointercancel"]) picture.addEventListener(name, (event) => this.fingers.delete(event.pointerId));
    picture.addEventListener("keydown", (event) => {
      const act = { "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), ArrowLeft: () => this.pan(-0.2), ArrowRight: () => this.pan(0.2), Home: () => this.move(864e5, null), End: () => this.move(this.span, null) }[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    });
  }

  pinch(before, now) {
    const wide = Math.abs(before[0] - before[1]), wider = Math.abs(now[0] - now[1]);
    if (wide < 0.02 || wider < 0.02) return;
    const { from, span } = this;
    const middle = from + span * (before[0] + before[1]) / 2; // stays between the fingers
    const next = Math.min(LONGEST, Math.max(SHORTEST, span * wide / wider));
    this.move(next, middle + next * (1 - (now[0] + now[1]) / 2));
  }
}

/** Beyond this silence something is missing: a pause far longer than its own habit, and than any heartbeat explains. */
function longestPause(points, row) {
  const pauses = [];
  for (let i = 1; i < points.length; i++) pauses.push(points[i][0] - points[i - 1][0]);
  pauses.sort((a, b) => a - b);
  const usual = pauses[Math.floor(pauses.length / 2)] ?? 0;
  return Math.max(QUIET * 1.1, 5 * usual, 5000 * (row.poll_s ?? 0));
}

/** The vertical axis: numbers, or the words of a text or state one above the other. */
function scaleOf(points, row) {
  const values = points.filter(([, value, quality]) => value !== null && kindOf(quality ?? "good") !== "bad").map(([, value]) => value);
  if (row.type === "bool" || values.some((value) => typeof value !== "number")) {
    const words = row.type === "bool" ? [false, true] : [...new Set(values)].slice(0, 12);
    const text = (word) => (typeof word === "boolean" ? t(String(word)) : String(word));
    return {
      low: -0.3, high: Math.max(1, words.length - 1) + 0.3, steps: true,
      place: (value) => Math.max(0, words.indexOf(value)),
      marks: words.map((value) => ({ value, text: text(value).length > 9 ? `${text(value).slice(0, 8)}…` : text(value) })),
    };
  }
  let low = Math.min(...values), high = Math.max(...values);
  if (!values.length) [low, high] = [0, 1];
  const pad = (high - low) * 0.08 || Math.abs(high) * 0.05 || 1;
  low -= pad;
  high += pad;
  const step = niceStep((high - low) / 4);
  const marks = [];
  for (let value = Math.ceil(low / step) * step; value <= high; value += step) marks.push({ value, text: number(Math.abs(value) < step / 1e6 ? 0 : value) });
  return { low, high, steps: row.type === "int", place: (value) => value, marks };
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5].find((part) => part * power >= rough) ?? 10);
}

function rangeOf({ range, unit: code }) {
  const [low, high] = range;
  return `${low === null ? "−∞" : number(low)} … ${high === null ? "∞" : number(high)} ${unit(code ?? "")}`;
}

const statesOf = (states) => Object.entries(states).slice(0, 12).map(([n, text]) => `${n} = ${text}`).join(", ");
