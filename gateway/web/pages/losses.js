// What was lost, and why, in plain words. The section is there only when something was.

import { arrange, button, el, heads, say, with_ } from "./dom.js";
import { count, moment, span } from "./format.js";
import { causeOf, sayParts } from "./said.js";
import { plural, t } from "./texts.js";

const FEW = 5; // that are shown before somebody asks for all

export class Losses {
  constructor() {
    this.rows = [];
    this.open = false;
    this.body = el("tbody");
    this.more = button("more", "", () => {
      this.open = !this.open;
      this.show(this.losses, this.now);
    });
    const title = with_(el("h2", t("losses")), { id: "losses-title" });
    this.element = with_(el("section.card", title, el("p.note", t("losses_note")),
      el("table", heads(["when", t("declared")], ["what", t("missing")], ["cause", t("cause")]), this.body), this.more),
    { id: "losses", "aria-labelledby": "losses-title" });
    this.element.hidden = true;
  }

  /** `losses`: newest first. `now`: the gateway's time. */
  show(losses, now) {
    this.losses = losses;
    this.now = now;
    this.element.hidden = !losses.length;
    const shown = this.open ? losses : losses.slice(0, FEW);
    while (this.rows.length < shown.length) this.rows.push(new Row());
    shown.forEach((loss, i) => this.rows[i].show(loss, now));
    arrange(this.body, this.rows.slice(0, shown.length).map((row) => row.element));
    this.more.hidden = losses.length <= FEW;
    this.more.setAttribute("aria-expanded", String(this.open));
    say(this.more, this.open ? t("show_less") : t("all_losses", { n: count(losses.length) }));
  }
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
    sayParts(this.cause, [cause]);
    sayParts(this.detail, [detail]);
  }
}

const ofClock = ({ cause }) => cause.startsWith("clock: "); // its steps are on record among the losses, but are none

function whereOf(loss) {
  if (ofClock(loss)) return t("gateway_clock");
  return loss.machine ? [loss.machine, loss.signal].filter(Boolean).join(" / ") : t("any_machine");
}

function manyOf(loss) {
  if (ofClock(loss)) return t("nothing_missing");
  if (loss.count) return plural("n_readings", loss.count, { n: count(loss.count) });
  if (loss.messages) return plural("n_messages", loss.messages, { n: count(loss.messages) });
  return t("count_unknown");
}
