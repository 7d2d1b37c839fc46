// What was lost, and why, in plain words. The section is there only when something was.

import { arrange, el, say } from "./dom.js";
import { count, digits, moment, span } from "./format.js";
import { t } from "./texts.js";

const FEW = 3; // that are shown before somebody asks for all

const section = document.getElementById("losses");
const body = section.querySelector("tbody");
const more = section.querySelector(".more");
const rows = [];
let open = false;

/** `losses`: newest first. `now`: the gateway's time. */
export function showLosses(losses, now) {
  section.hidden = !losses.length;
  const shown = open ? losses : losses.slice(0, FEW);
  while (rows.length < shown.length) rows.push(new Row());
  shown.forEach((loss, i) => rows[i].show(loss, now));
  arrange(body, rows.slice(0, shown.length).map((row) => row.element));
  more.hidden = losses.length <= FEW;
  more.setAttribute("aria-expanded", String(open));
  say(more, t(open ? "show_less" : "all_losses", { n: count(losses.length) }));
  more.onclick = () => {
    open = !open;
    showLosses(losses, now);
  };
}

class Row {
  constructor() {
    this.when = el("td.when");
    this.where = el("strong");
    this.many = el("span");
    this.span = el("span");
    this.cause = el("p");
    this.detail = el("p.note");
    this.element = el("tr", this.when, el("td.what", el("div", this.where, this.many, this.span)), el("td.cause", this.cause, this.detail));
  }

  show(loss, now) {
    const [cause, detail] = causeOf(loss.cause);
    say(this.when, loss.t === null ? "–" : moment(loss.t, now));
    say(this.where, whereOf(loss));
    say(this.many, manyOf(loss));
    say(this.span, loss.from_ms === null || loss.to_ms === null ? t("time_unknown") : span(loss.from_ms, loss.to_ms, now));
    say(this.cause, cause);
    say(this.detail, detail);
  }
}

const ofClock = ({ cause }) => cause.startsWith("clock: "); // its steps are on record among the losses, but are none

function whereOf(loss) {
  if (ofClock(loss)) return t("gateway_clock");
  return loss.machine ? [loss.machine, loss.signal].filter(Boolean).join(" / ") : t("any_machine");
}

function manyOf(loss) {
  if (ofClock(loss)) return t("nothing_missing");
  if (loss.count) return t(loss.count === 1 ? "one_reading" : "n_readings", { n: count(loss.count) });
  if (loss.messages) return t(loss.messages === 1 ? "one_message" : "n_messages", { n: count(loss.messages) });
  return t("count_unknown");
}

/** A cause in plain words, and what stands behind its colon. One that is not known is shown as it is. */
function causeOf(cause) {
  const whole = t(`cause.${cause}`);
  if (whole) return [whole, ""];
  const [, kind, detail] = /^([^:]+): (.*)$/s.exec(cause) ?? [];
  const words = kind && t(`cause.${kind}`);
  if (!words) return [cause, ""];
  const kept = /^one value in (\S+) s$/.exec(detail);
  return [words, kept ? t("one_value_in", { n: digits(kept[1]) }) : detail];
}
