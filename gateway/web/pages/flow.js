// The way of the data: five stations from the machine to the store, what waits between them, and what was lost.

import { disclosure, el, mark, say, sayState, with_ } from "./dom.js";
import { bytes, count, duration, percent, timeOfDay } from "./format.js";
import { Losses } from "./losses.js";
import { diskReason } from "./plant.js";
import { reasonParts, sayParts } from "./said.js";
import { t } from "./texts.js";
import { lines, sinceOf, why } from "./words.js";

const STAGES = ["read", "normalized", "accepted", "sent", "stored"];

export class Flow {
  stream = "view=flow";

  constructor(frame) {
    this.frame = frame;
    this.stages = new Map(STAGES.map((name) => [name, new Stage(name)]));
    this.way = el("ol.way", ...[...this.stages.values()].map(({ element }) => element));
    this.delivery = el("p.weak", el("strong", t("weak_delivery")), " ", t("weak_delivery_why"));
    this.delivery.hidden = true;
    this.links = el("ul.parts");
    this.state = el("p.state");
    this.alert = with_(el("p.alert"), { role: "alert" });
    this.alert.hidden = true;
    this.fault = el("div");
    this.meter = with_(el("meter"), { min: 0, max: 1, high: 0.8, optimum: 0, "aria-label": t("buffer_level") });
    this.facts = el("dl.facts");
    this.losses = new Losses();
    this.lost = el("dl.facts");
    this.element = el("div", el("h1", t("flow")), this.way, this.delivery, this.links,
      el("section.card.pad", el("h2", t("buffer")), this.alert, this.fault, this.meter, this.facts),
      el("section.card.pad", el("h2", t("account")), this.lost), this.losses.element);
  }

  title() { return t("flow"); }
  tick() { this.draw(); }

  show(data) {
    this.data = data;
    this.draw();
  }

  draw() {
    if (!this.data) return;
    const now = this.frame.now();
    const { stages, buffer, losses, dead_letters: dead, refused, rewinds } = this.data;
    const delivery = this.frame.plant?.gateway?.delivery;
    for (const stage of stages) this.stages.get(stage.name)?.show(stage, delivery);
    this.delivery.hidden = delivery !== "broker";
    this.drawLinks(now);

    const { trouble, records, bytes: used, max_bytes: most, oldest_ms: oldest, fills_in_s: fills, drains_in_s: drains } = buffer;
    this.alert.hidden = !trouble;
    if (trouble) sayState(this.alert, "offline", t("disk_alert", { why: diskReason(trouble) }));
    else say(this.alert, "");
    this.explain(trouble ? buffer.fault : "");
    this.meter.value = most ? used / most : 0;
    facts(this.facts, [
      ["waiting_messages", count(records)],
      ["level", most ? `${percent(used / most)} · ${t("buffer_of", { used: bytes(used), all: bytes(most) })}` : bytes(used)],
      ["oldest", records && oldest ? lines(duration(Math.max(0, (now - oldest) / 1000)), timeOfDay(oldest)) : "–"],
      ["full_in", typeof fills === "number" ? duration(fills) : t("does_not_fill")],
      ["empty_in", typeof drains === "number" ? duration(drains) : records > 1000 ? t("does_not_drain") : "–"],
      ["only_memory", trouble && buffer.unsafe ? count(buffer.unsafe) : ""],
    ]);
    facts(this.lost, [
      ["lost_readings", count(this.data.lost ?? 0), this.data.lost],
      ["thinned", this.data.thinned ? count(this.data.thinned) : "", false],
      ["bad_readings", count(this.data.bad ?? 0), false],
      ["dropped", buffer.dropped === undefined ? "" : count(buffer.dropped), buffer.dropped],
      ["refused", count(refused ?? 0), refused],
      ["rewinds", count(rewinds ?? 0), false],
      ["dead_letters", dead ? lines(count(dead.count), dead.count && dead.file) : t("dead_letters_elsewhere"), dead?.count],
    ]);
    this.losses.show(losses, now);
  }

  explain(fault) {
    if (this.fault.dataset.fault === (fault ?? "")) return;
    this.fault.dataset.fault = fault ?? "";
    this.fault.replaceChildren(...(fault ? [disclosure(t("why_disk"), (body) => why(body, fault, ""))] : []));
  }

  drawLinks(now) {
    for (const part of ["broker", "store"]) {
      const condition = this.data[part];
      const item = this.links[part] ??= { element: el("li"), state: el("strong"), why: el("span.note") };
      if (!item.element.children.length) {
        item.element.append(el("span.name", t(part)), item.state, item.why);
        this.links.append(item.element);
      }
      mark(item.element, "state", condition.state);
      sayState(item.state, condition.state, t(condition.state) ?? condition.state);
      sayParts(item.why, condition.state === "unused" ? [t("no_store")] : [...reasonParts(condition), sinceOf(condition, now)]);
    }
  }
}

/** Terms and what they are; those without a value are left out. The third says whether it is something to look at. */
function facts(list, all) {
  const there = all.filter(([, text]) => text !== "" && text !== undefined);
  if (list.children.length !== there.length) list.replaceChildren(...there.map(() => el("div", el("dt"), el("dd"))));
  there.forEach(([name, text, trouble], i) => {
    const element = list.children[i];
    mark(element, "state", trouble ? "degraded" : "");
    say(element.firstChild, t(name));
    say(element.lastChild, text);
  });
}

class Stage {
  constructor(name) {
    this.name = name;
    this.rate = el("strong");
    this.words = el("span", t("per_second"));
    this.total = el("p.note");
    this.lag = el("p.note");
    this.element = el("li", el("h2", t(`stage.${name}`)), el("p.figure", this.rate, " ", this.words), this.total, this.lag);
    this.element.dataset.step = name;
  }

  show({ total, per_s: rate, lag_s: lag }, delivery) {
    const unused = this.name === "stored" && delivery === "broker";
    say(this.rate, unused || rate === null || rate === undefined ? "–" : count(rate));
    say(this.words, unused ? "" : t(this.name === "sent" || this.name === "stored" ? "messages_per_second" : "per_second"));
    say(this.total, unused ? t("no_store") : t("total", { n: count(total ?? 0) }));
    const late = typeof lag === "number" && lag > 60;
    mark(this.element, "state", late ? "degraded" : "");
    say(this.lag, typeof lag !== "number" ? "" : lag < 2 ? t("lag_none") : t("lag", { time: duration(lag) }));
  }
}
