// All that happened, with a choice of the machine.

import { get } from "./api.js";
import { button, el, with_ } from "./dom.js";
import { EventList } from "./eventlist.js";
import { t } from "./texts.js";
import { sayError } from "./words.js";

const MANY = 100;
const KINDS = ["machine", "broker", "store", "buffer", "clock", "loss", "config", "access", "gateway"];

export class EventsPage {
  stream = "view=events";

  constructor(frame) {
    this.frame = frame;
    this.events = [];
    this.machines = [];
    this.list = new EventList();
    this.error = with_(el("p.error"), { role: "alert" });
    this.error.hidden = true;
    this.machine = with_(el("select"), { id: "machine" });
    this.kind = with_(el("select"), { id: "kind" });
    this.kind.append(option("", t("all_kinds")), ...KINDS.map((kind) => option(kind, t(`kind.${kind}`))));
    this.wanted = new URLSearchParams(location.search).get("machine") ?? "";
    this.machine.append(option("", t("all_machines_plain")));
    if (this.wanted) this.offer([this.wanted]);
    this.machine.value = this.wanted;
    this.machine.onchange = () => {
      this.wanted = this.machine.value;
      history.replaceState(null, "", this.wanted ? `/events?machine=${encodeURIComponent(this.wanted)}` : "/events");
      this.load();
    };
    this.kind.onchange = () => this.draw();
    this.older = button("more", t("older"), () => this.load(this.events.at(-1)?.t));
    this.older.hidden = true;
    const form = el("form.bar", el("h1", t("events")), with_(el("label", t("machine")), { for: "machine" }), this.machine, with_(el("label", t("kind")), { for: "kind" }), this.kind);
    form.onsubmit = (event) => event.preventDefault();
    this.element = el("div", form, this.error, el("div.card.pad", this.list.element), this.older);
    this.load();
  }

  title() { return t("events"); }

  offer(names) {
    for (const name of names) {
      if (this.machines.includes(name)) continue;
      this.machines.push(name);
      this.machine.append(option(name, name));
    }
  }

  /** The stream brings the newest; what is new among them goes on top. */
  show({ events }) {
    this.offer(this.frame.plant?.machines?.map(({ name }) => name) ?? []);
    if (!this.loaded || !events) return;
    const newest = this.events[0]?.t ?? 0;
    const known = new Set(this.events.filter(({ t: time }) => time === newest).map((event) => JSON.stringify(event)));
    const fresh = events.filter((event) => (!this.wanted || event.machine === this.wanted) && (event.t > newest || (event.t === newest && !known.has(JSON.stringify(event)))));
    if (!fresh.length) return;
    this.events = [...fresh, ...this.events];
    this.draw();
  }

  async load(before) {
    const query = new URLSearchParams({ limit: MANY, ...(this.wanted && { machine: this.wanted }), ...(before && { before }) });
    try {
      const { events } = await get(`/api/v1/events?${query}`);
      this.events = before ? [...this.events, ...events] : events;
      this.loaded = true;
      this.older.hidden = events.length < MANY;
      this.offer(events.map(({ machine, kind }) => kind === "machine" && machine).filter(Boolean));
      sayError(this.error, null);
    } catch (error) {
      sayError(this.error, error);
    }
    this.draw();
  }

  draw() {
    this.list.show(this.events.filter(({ kind }) => !this.kind.value || kind === this.kind.value));
  }
}

function option(value, text) {
  const element = el("option", text);
  element.value = value;
  return element;
}
