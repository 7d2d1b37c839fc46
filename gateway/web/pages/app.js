// The status page: what the stream brings, put into the document.

import { arrange, el, mark, say, sayState } from "./dom.js";
import { age, count, digits, duration, moment, percent, timeOfDay, unit } from "./format.js";
import { showLosses } from "./losses.js";
import { follow } from "./stream.js";
import { language, t } from "./texts.js";

const LONG = 16; // characters: what is longer may be broken anywhere
const FEW = 8; // signals of a machine that are shown before somebody asks for all
const TROUBLE = ["offline", "degraded", "online", "unused"]; // the order of the tiles
const NAMES = new Intl.Collator(language, { numeric: true });

const $ = (id) => document.getElementById(id);
const tiles = new Map(); // machine name -> Tile
let board = null; // the last snapshot
let arrived = 0; // when it arrived
let live = false;

/** The gateway's time now: our own clock may be wrong, so it only counts on from the snapshot. */
const now = () => board.t + (Date.now() - arrived);

// --- head ------------------------------------------------------------------------------------------------------------

const reasonOf = (condition) => t(`reason.${condition.reason}`) ?? t(`quality.${condition.reason}`) ?? condition.reason;
const sinceOf = (condition) => t("since", { time: moment(condition.since_ms, now()) });

function showVerdict() {
  const machines = board.machines;
  const of = (state) => machines.filter((machine) => machine.state === state).length;
  const parts = ["broker", "store"];
  const offline = [
    of("offline") && t("n_offline", { n: count(of("offline")) }),
    ...parts.map((part) => board[part].state === "offline" && t("part_offline", { part: t(part) })),
    board.buffer.trouble && t("disk_failing"),
  ].filter(Boolean);
  const degraded = [
    of("degraded") && t("n_degraded", { n: count(of("degraded")) }),
    ...parts.map((part) => board[part].state === "degraded" && t("part_degraded", { part: t(part) })),
  ].filter(Boolean);
  const state = offline.length ? "offline" : degraded.length || !machines.length ? "degraded" : "online";
  const text = [...offline, ...degraded].join(" · ") || t(machines.length ? "all_well" : "no_machines");
  sayState($("verdict"), state, text);
  say($("gateway"), board.gateway.id);
  if (live) document.title = state === "online" ? board.gateway.id : `${text} – ${board.gateway.id}`;
}

/** The number of messages is no part of the alert: a screen reader would be interrupted by each change of it. */
function showDisk() {
  const { trouble, unsafe } = board.buffer;
  const [alert, note] = $("disk").children;
  $("disk").hidden = !trouble;
  if (trouble) sayState(alert, "offline", t("disk_alert", { why: diskReason(trouble) }));
  else say(alert, "");
  say(note, trouble && t("disk_unsafe", { n: count(unsafe) }));
}

/** In front of what the system says there may be the place it says it of. */
function diskReason(trouble) {
  const [, place = "", what] = /^(.*: )?(.*)$/s.exec(trouble);
  const [, size] = /^less than (.+) would be left free$/.exec(what) ?? [];
  return place + (size ? t("disk.reserve", { size }) : t(`disk.${what}`) ?? what);
}

function step(name) {
  const item = document.querySelector(`[data-step=${name}]`);
  return { item, figure: item.querySelector(".figure"), note: item.querySelector(".note") };
}

function sayFigure(element, number, words) {
  if (!element.children.length) element.append(el("strong"), " ", el("span"));
  say(element.firstChild, number);
  say(element.lastChild, words);
}

function showWay() {
  const { flow, buffer } = board;
  const read = step("read");
  sayFigure(read.figure, flow.readings_per_s === null ? "–" : count(flow.readings_per_s), t("per_second"));
  say(read.note, t("read_total", { n: count(flow.read) }));

  const waits = step("buffer");
  const full = buffer.max_bytes ? buffer.bytes / buffer.max_bytes : 0;
  sayFigure(waits.figure, count(buffer.records), t("waiting"));
  const unsafe = buffer.trouble && t("unsafe", { n: count(buffer.unsafe) });
  const dropped = buffer.dropped && t("dropped", { n: count(buffer.dropped) });
  say(waits.note, lines(t("buffer_full", { percent: percent(full) }), unsafe, dropped));
  mark(waits.item, "state", buffer.trouble ? "offline" : buffer.dropped || full > 0.8 ? "degraded" : "online");

  showPart("broker", t("sent_total", { n: count(flow.sent) }), flow.refused && t("refused", { n: count(flow.refused) }));
  showPart("store", t("stored_total", { n: count(flow.stored) }), flow.lost && t("lost_total", { n: count(flow.lost) }));
  $("delivery").hidden = board.gateway.delivery !== "broker";
}

function showPart(name, total, trouble) {
  const condition = board[name];
  const { item, figure, note } = step(name);
  mark(item, "state", condition.state);
  sayState(figure, condition.state, t(condition.state));
  if (condition.state === "unused") say(note, t("no_store"));
  else if (condition.state === "online") say(note, lines(total, trouble));
  else say(note, lines(reasonOf(condition), sinceOf(condition), trouble));
}

const lines = (...parts) => parts.filter(Boolean).join(" · ");

// --- machines --------------------------------------------------------------------------------------------------------

class Tile {
  constructor(name) {
    this.rows = new Map(); // signal name -> Row
    this.open = false;
    this.link = el("a", name);
    this.link.href = `#${encodeURIComponent(name)}`;
    this.state = el("p.state");
    this.place = el("p.place");
    this.why = el("p.why");
    this.body = el("tbody");
    const heads = ["signal", "value", "quality", "age"].map((key) => {
      const head = el(`th.${key}`, t(key));
      head.scope = "col";
      return head;
    });
    this.table = el("table", el("caption.unseen", name), el("thead", el("tr", ...heads)), this.body);
    this.more = el("button.more");
    this.more.type = "button";
    this.more.onclick = () => {
      this.open = !this.open;
      show();
    };
    const head = el("div.head", el("h2", this.link), this.state, this.place, this.why);
    this.element = el("article.machine", head, this.table, this.more);
    this.element.setAttribute("aria-label", name);
  }

  /** `signals` are those the search has left. */
  show(machine, signals, searching) {
    mark(this.element, "state", machine.state);
    sayState(this.state, machine.state, t(machine.state));
    say(this.place, machine.path.slice(0, -1).join(" / "));
    say(this.why, lines(reasonOf(machine), sinceOf(machine)));
    mark(this.why, "state", machine.state);

    // What is in trouble is never folded away.
    const all = this.open || searching || signals.length <= FEW + 2;
    const shown = all ? signals : signals.filter((signal, i) => i < FEW || signal.quality !== "good");
    const rows = shown.map((signal) => {
      if (!this.rows.has(signal.name)) this.rows.set(signal.name, new Row(signal.name));
      const row = this.rows.get(signal.name);
      row.show(signal);
      return row.element;
    });
    arrange(this.body, rows);
    this.more.hidden = searching || signals.length <= FEW + 2;
    this.more.setAttribute("aria-expanded", String(this.open));
    say(this.more, this.open ? t("show_less") : t("show_all", { n: count(signals.length) }));
  }
}

class Row {
  constructor(name) {
    this.number = el("span.number");
    this.unit = el("span.unit");
    this.quality = el("td.quality");
    this.age = el("td.age");
    const head = el("th.signal", ...breakable(name));
    head.scope = "row";
    this.value = el("td.value", this.number, " ", this.unit);
    this.element = el("tr", head, this.value, this.quality, this.age);
  }

  show(signal) {
    const [severity, ...rest] = signal.quality.split(":");
    mark(this.element, "quality", signal.quality === "bad:stale" ? "stale" : severity);
    mark(this.element, "type", signal.type);
    const text = textOf(signal);
    say(this.number, text);
    this.number.classList.toggle("long", text.length > LONG);
    say(this.unit, unit(signal.unit));
    // Where there is no value, the reason takes its place.
    this.value.hidden = signal.text === null;
    this.quality.colSpan = signal.text === null ? 2 : 1;
    const since = signal.since_ms === undefined ? "" : t("since", { time: moment(signal.since_ms, now()) });
    const last = signal.last ? t("last", { value: `${textOf({ ...signal.last, type: signal.type })} ${unit(signal.unit)}`.trim(), time: moment(signal.last.t, now()) }) : "";
    say(this.quality, lines(qualityOf(severity, rest) + (since && ` ${since}`), last));
    say(this.age, signal.t === null ? "–" : age((now() - signal.t) / 1000));
  }
}

/** A name that may be broken after its dots, dashes and underscores rather than anywhere. */
function breakable(name) {
  const parts = name.match(/[^._-]*[._-]*/g).flatMap((part) => [el("wbr"), part.length > LONG ? el("span.long", part) : part]);
  return parts.slice(1);
}

function textOf({ type, text }) {
  if (text === null) return "";
  if (type === "string") return text || t("empty");
  return type === "bool" ? t(text) ?? text : digits(text);
}

function qualityOf(severity, [reason, code]) {
  if (!reason) return t(`quality.${severity}`) ?? severity;
  if (reason === "server") return `${t(`quality.${severity}`)}: ${t("quality.server", { code })}`;
  return t(`quality.${reason}`) ?? reason;
}

function showMachines() {
  const words = $("filter").value.trim().toLowerCase();
  const chosen = (machine) => location.hash === `#${encodeURIComponent(machine.name)}`;
  const single = board.machines.some(chosen);
  const above = $(single ? "machines" : "delivery"); // one machine alone is seen from afar, and comes first
  if (above.nextElementSibling !== $("losses")) above.after($("losses"));
  // Of a loss without a name it is not known which machines it was of.
  showLosses(board.losses.filter((loss) => !single || !loss.machine || chosen({ name: loss.machine })), now());
  const machines = board.machines
    .filter((machine) => !single || chosen(machine))
    .sort((a, b) => TROUBLE.indexOf(a.state) - TROUBLE.indexOf(b.state) || NAMES.compare(a.name, b.name));

  let found = 0;
  const shown = [];
  for (const machine of machines) {
    const signals = machine.signals.filter((signal) => `${machine.name}/${signal.name}`.toLowerCase().includes(words));
    if (words && !signals.length) continue;
    found += signals.length;
    if (!tiles.has(machine.name)) tiles.set(machine.name, new Tile(machine.name));
    const tile = tiles.get(machine.name);
    tile.show(machine, signals, words !== "");
    shown.push(tile.element);
  }
  arrange($("machines"), shown);
  document.body.classList.toggle("single", single);
  $("all").hidden = !single;
  say($("number"), count(board.machines.length));
  say($("found"), words && (found ? t("found", { n: count(found) }) : t("none_found")));
}

// --- the page --------------------------------------------------------------------------------------------------------

function show() {
  if (!board) return;
  showVerdict();
  showDisk();
  showWay();
  showMachines();
  const { version, uptime_s, delivery } = board.gateway;
  say($("about"), t("about", { version, uptime: duration(uptime_s), delivery: t(`delivery_${delivery}`) }));
  say($("clock"), timeOfDay(board.t));
}

function connected(snapshot) {
  board = snapshot;
  arrived = Date.now();
  live = true;
  show();
  document.body.classList.remove("lost");
  document.body.classList.add("live");
  say($("lost"), "");
  say($("link-text"), t("live"));
  if (!performance.getEntriesByName("first-values").length) performance.mark("first-values");
}

function lost() {
  live = false;
  document.body.classList.remove("live");
  document.body.classList.add("lost");
  say($("lost"), board ? t("lost", { time: timeOfDay(board.t) }) : t("never"));
  say($("link-text"), t("not_live"));
  document.title = `⚠ ${t("not_live")}`;
}

document.documentElement.lang = language;
for (const element of document.querySelectorAll("[data-text]")) say(element, t(element.dataset.text));
for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", t(element.dataset.label));
document.querySelector(`footer [lang=${language}]`).setAttribute("aria-current", "true");
document.title = t("title");
say($("link-text"), t("connecting"));

$("filter").oninput = show;
$("search").onsubmit = (event) => event.preventDefault();
addEventListener("hashchange", show);
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || document.activeElement === $("filter")) return;
  event.preventDefault();
  $("filter").focus();
});
setInterval(() => live || show(), 1000); // ages grow on while nothing arrives
follow("/api/v1/stream", connected, lost);
