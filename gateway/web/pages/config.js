// The configuration: what is in force and where each value comes from, a check of what somebody pastes, and its versions.

import { get, post } from "./api.js";
import { arrange, button, disclosure, el, heads, say, with_ } from "./dom.js";
import { at, count } from "./format.js";
import { english, nodes, own } from "./said.js";
import { t } from "./texts.js";
import { refusal, sayError } from "./words.js";

const FEW = 100; // values that are shown at a time

export class Config {
  stream = "view=events"; // for the knowledge that the gateway is there

  constructor(frame) {
    this.frame = frame;
    this.error = with_(el("p.error"), { role: "alert" });
    this.error.hidden = true;
    this.warnings = el("div.warnings");
    this.body = el("tbody");
    this.more = button("more", "", () => {
      this.all = !this.all;
      this.drawOrigins();
    });
    this.filter = with_(el("input"), { id: "filter", type: "search", autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
    this.filter.oninput = () => this.drawOrigins();
    this.found = with_(el("p.found"), { role: "status" });
    this.of = with_(el("select"), { id: "of" });
    this.of.append(option("", t("of_gateway")));
    this.of.onchange = () => this.load();
    const form = with_(el("form.bar", el("h2", t("in_force")), this.found, with_(el("label", t("keys_of")), { for: "of" }), this.of, with_(el("label", t("filter_keys")), { for: "filter" }), this.filter), { role: "search" });
    form.onsubmit = (event) => event.preventDefault();
    const table = el("table.origins", el("caption.unseen", t("in_force")), heads(["", t("key")], ["", t("value")], ["", t("origin")]), this.body);
    this.effective = own("", "pre");
    this.files = el("div");
    this.checked = new Check();
    this.changes = new Changes(frame, () => this.load());
    this.element = el("div", el("h1", t("config")), this.error, this.warnings, this.changes.element, this.checked.element, form,
      el("div.card", table, this.more),
      el("section.card.pad", el("h2", t("files")), disclosure(t("as_one"), (body) => body.append(scrolled(this.effective, t("as_one")))), this.files));
    this.load();
  }

  title() { return t("config"); }

  show({ events }) {
    for (const { name } of this.frame.plant?.machines ?? []) {
      if (![...this.of.options].some(({ value }) => value === name)) this.of.append(option(name, name));
    }
    const newest = (events ?? []).find(({ kind }) => kind === "config")?.t ?? 0;
    if (this.newest !== undefined && newest > this.newest) this.load(); // somebody else changed it
    this.newest = newest;
  }

  async load() {
    try {
      this.data = await get(`/api/v1/config${this.of.value && `?machine=${encodeURIComponent(this.of.value)}`}`);
      sayError(this.error, null);
    } catch (error) {
      sayError(this.error, error);
      return;
    }
    const { files, effective, warnings, errors, versions, in_force: inForce } = this.data;
    const fixed = this.data.fixed === true;
    const newer = inForce === false ? el("p.newer", t(errors?.length ? "files_wrong" : "files_newer")) : "";
    this.warnings.replaceChildren(fixed ? el("p.note", t("fixed")) : newer, ...problems(errors, "errors", "h2"), ...problems(warnings, "warnings", "h2"));
    this.checked.offer(files.map(({ name }) => name));
    say(this.effective, effective);
    this.files.replaceChildren(...files.map((file) => disclosure(file.name, (body) => body.append(scrolled(numbered(file.text), file.name)))));
    this.drawOrigins();
    this.changes.element.hidden = fixed;
    this.changes.show(versions ?? []);
  }

  drawOrigins() {
    const all = this.data?.origins ?? [];
    const words = this.filter.value.trim().toLowerCase();
    // What somebody wrote comes before what is as it is by itself.
    const found = all.filter((row) => [row.path, shownValue(row.value), row.file].join(" ").toLowerCase().includes(words))
      .sort((a, b) => (a.from === "default") - (b.from === "default"));
    const shown = this.all ? found : found.slice(0, FEW);
    this.body.replaceChildren(...shown.map((row) => {
      const where = row.from === "default" ? t("from.default") : [t(`from.${row.from}`) ?? row.from, row.file && `${row.file}${row.line ? `:${row.line}` : ""}`].filter(Boolean).join(" · ");
      const line = el("tr", with_(el("th", ...dotted(row.path)), { scope: "row", translate: "no" }), own(shownValue(row.value), "td.text"), el("td.note", where));
      line.dataset.from = row.from;
      return line;
    }));
    this.more.hidden = found.length <= FEW;
    this.more.setAttribute("aria-expanded", String(Boolean(this.all)));
    say(this.more, this.all ? t("show_less") : t("show_all_keys", { n: count(found.length) }));
    const left = this.data?.origins_left_out;
    say(this.found, words ? t(found.length ? "keys_found" : "none_found_here", { n: count(found.length) }) : left && t("keys_left_out", { n: count(left) }));
  }
}

const shownValue = (value) => (value === null || value === undefined ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value));
const dotted = (path) => path.split(/(?<=\.)/).flatMap((part) => [el("wbr"), part]);

function option(value, text) {
  const element = el("option", text);
  element.value = value;
  return element;
}

function scrolled(element, label) {
  return with_(el("div.scroll", element), { tabindex: "0", role: "region", "aria-label": label });
}

function numbered(text) {
  return with_(el("pre.numbered", ...text.replace(/\n$/, "").split("\n").map((line) => el("span", `${line}\n`))), { translate: "no" });
}

/** A difference: the mark in front of each line says it, and a colour. */
function difference(lines) {
  const shown = lines.map((line) => el(line.startsWith("+") ? "ins" : line.startsWith("-") ? "del" : "span", `${line}\n`));
  return scrolled(with_(el("pre.diff", ...shown), { lang: "en" }), t("difference"));
}

function problems(list, key, heading = "h3") {
  if (!list?.length) return [];
  return [el(heading, t(key)), el("ol.problems", ...list.map((error) => {
    if (typeof error === "string" || !error.message) return english(error.text ?? error, "li");
    const place = error.line ? t("at_line", { file: error.file || t("pasted"), line: error.line }) : error.file;
    return el("li", place && el("strong", place, " "), error.field && el("code", error.field), " ", english(error.message),
      error.hint && english(error.hint, "p.note"), error.line && error.text && !error.text.includes(error.message) && english(error.text, "pre.excerpt"));
  }))];
}

/** A box to paste a file and have it checked; nothing is taken over. */
class Check {
  constructor() {
    this.text = with_(el("textarea"), { id: "paste", rows: "8", spellcheck: "false", autocapitalize: "none", autocomplete: "off" });
    this.send = with_(el("button.main", t("check")), { type: "submit" });
    this.result = with_(el("div.result"), { role: "status" });
    this.name = with_(el("select"), { id: "replaced" });
    const form = el("form.stack", el("p.bar", with_(el("label", t("replaces")), { for: "replaced" }), this.name), with_(el("label", t("paste")), { for: "paste" }), this.text, el("p", this.send), this.result);
    form.onsubmit = (event) => {
      event.preventDefault();
      this.check();
    };
    this.element = disclosure(t("check_title"), () => {});
    this.element.classList.add("card", "pad");
    this.element.querySelector(".inside").append(form);
  }

  offer(names) {
    const key = names.join();
    if (this.key === key) return;
    this.key = key;
    this.name.replaceChildren(...names.map((name) => option(name, name)));
  }

  async check() {
    this.send.disabled = true;
    say(this.result, t("checking"));
    try {
      const { ok, errors, warnings, difference: lines } = await post("/api/v1/config/check", { text: this.text.value, ...(this.name.value && { name: this.name.value }) });
      this.result.replaceChildren(el(ok ? "p.right" : "p.error", t(ok ? "check_right" : "check_wrong")), ...problems(errors, "errors"), ...problems(warnings, "warnings"),
        ...(lines?.length ? [el("h3", t("difference")), difference(lines)] : ok ? [el("p.note", t("no_difference"))] : []));
      const line = errors?.find((error) => error.line)?.line;
      if (line) this.mark(line);
    } catch (error) {
      this.result.replaceChildren(el("p.error", ...nodes([refusal(error)])));
    }
    this.send.disabled = false;
  }

  /** The line of the first error is chosen in the box. */
  mark(line) {
    const lines = this.text.value.split("\n");
    const start = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    this.text.setSelectionRange(start, start + (lines[line - 1]?.length ?? 0));
    this.text.scrollTop = this.text.scrollHeight * (line - 1) / Math.max(1, lines.length) - 40;
  }
}

/** Reload and versions; for engineers, and only after a second word. */
class Changes {
  constructor(frame, done) {
    this.frame = frame;
    this.done = done;
    this.reload = button("main", t("reload"), () => this.ask(t("reload_sure"), "/api/v1/config/reload", {}));
    this.result = with_(el("div.result"), { role: "status" });
    this.note = el("p.note", t(frame.engineer ? "reload_note" : "engineers_only"));
    this.body = el("tbody");
    this.versions = el("table.versions", el("caption", t("versions")), heads(["", t("version")], ["", t("when")], ["", t("by")], ["", t("what")], ["", ""]), this.body);
    this.versions.querySelector("thead th:last-child").replaceWith(el("td"));
    this.words = with_(el("p"), { id: "sure" });
    this.yes = button("main", t("yes_do"), () => this.dialog.close("yes"));
    this.no = button("plain", t("cancel"), () => this.dialog.close("no"));
    this.dialog = with_(el("dialog", this.words, el("p.actions", this.yes, this.no)), { "aria-labelledby": "sure" });
    this.dialog.onclose = () => this.dialog.returnValue === "yes" && this.act();
    this.element = el("section.card.pad", el("h2", t("take_over")), this.note, el("p", this.reload), this.result, el("div.wide", this.versions), this.dialog);
    this.reload.hidden = !frame.engineer;
    this.versions.hidden = true;
  }

  show(versions) {
    this.versions.hidden = !versions.length;
    arrange(this.body, versions.map((version) => {
      const number = count(version.version);
      const last = version.current ? el("td", el("strong", t("current"))) : this.frame.engineer
        ? el("td", with_(button("plain", t("rollback"), () => this.ask(t("rollback_sure", { n: number }), "/api/v1/config/rollback", { version: version.version })), { "aria-label": t("rollback_to", { n: number }) }))
        : el("td");
      return el("tr", with_(el("th", number), { scope: "row" }), el("td", at(version.t)), el("td", version.who), english(version.summary, "td.text"), last);
    }));
  }

  ask(words, path, body) {
    this.wish = [path, body];
    say(this.words, words);
    this.dialog.returnValue = "";
    this.dialog.showModal();
  }

  async act() {
    this.reload.disabled = true;
    say(this.result, t("working"));
    try {
      const { changed, difference: lines, touched, errors, restart, warnings } = await post(...this.wish);
      const word = errors?.length ? "reload_refused" : changed ? "reload_done" : "reload_same";
      this.result.replaceChildren(el(errors?.length ? "p.error" : "p.right", t(word)), ...problems(errors, "errors"), ...problems(warnings ?? [], "warnings"),
        ...(touched?.length ? [el("p", t("touched"), " ", touched.join(", "))] : []),
        ...(restart?.length ? [el("p", el("strong", t("needs_restart")), " ", restart.join(", "))] : []),
        ...(lines?.length ? [el("h3", t("difference")), difference(lines)] : []));
      if (changed) this.done();
    } catch (error) {
      this.result.replaceChildren(el("p.error", ...nodes([refusal(error)])));
    }
    this.reload.disabled = false;
  }
}
