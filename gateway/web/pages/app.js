// The frame around every page: which page it is, the stream it lives from, who looks on, and whether it is all still true.

import { get, post, session } from "./api.js";
import { button, el, link, mark, say, sayState } from "./dom.js";
import { duration, foreign, timeOfDay, useZone } from "./format.js";
import { Login, Password } from "./login.js";
import { Plant } from "./plant.js";
import { english } from "./said.js";
import { follow } from "./stream.js";
import { language, t } from "./texts.js";

const $ = (id) => document.getElementById(id);

const PAGES = [
  [/^\/$/, async () => Plant],
  [/^\/machines\/([^/]+)$/, async () => (await import("./machine.js")).MachinePage],
  [/^\/flow$/, async () => (await import("./flow.js")).Flow],
  [/^\/kpi$/, async () => (await import("./kpi.js")).Kpi],
  [/^\/config$/, async () => (await import("./config.js")).Config],
  [/^\/events$/, async () => (await import("./events.js")).EventsPage],
  [/^\/login$/, async () => Plant], // where somebody is let in, and goes on from there
];

let view = null; // the page that is shown
let end = () => {}; // ends its stream
let turn = 0; // counts the pages, so that one that loads slowly does not come late
let live = false;
let shown = 0; // the gateway's time of the newest data
let arrived = 0; // when they arrived
let zone = null; // whose times are shown
let plant = null; // what is known of the gateway as a whole
let who = { user: null, role: null, login: "none" };

/** What a page gets from its frame. */
const frame = {
  /** The gateway's time: our own clock may be wrong, so it only counts on from what arrived. */
  now: () => (shown ? shown + (Date.now() - arrived) : Date.now()),
  get live() { return live; },
  get engineer() { return who.role === "engineer"; },
  get plant() { return plant; },
  /** Something about the gateway as a whole has come. */
  tell(news) {
    plant = news;
    showZone(news);
    say($("gateway").firstElementChild, gateway().id ?? "");
    showAbout();
    showSafe(plant.safe_mode);
    title();
  },
  go,
  title,
};

const gateway = () => (typeof plant?.gateway === "string" ? { id: plant.gateway } : plant?.gateway ?? {});

// --- which page ------------------------------------------------------------------------------------------------------

async function open(focus) {
  const mine = ++turn;
  end();
  end = () => {};
  view?.stop?.();
  view = null;
  shown = 0;
  const door = location.pathname === "/login" && who.login !== "none" && !who.user;
  if (location.pathname === "/login" && !door) history.replaceState(null, "", "/");
  const path = location.pathname;
  for (const a of $("nav").children) {
    if (a.pathname === path) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  for (const a of $("languages").children) a.href = `${path}?lang=${a.lang}`;
  const [, load, match] = PAGES.map(([form, load]) => [form, load, form.exec(path)]).find(([, , match]) => match) ?? [];
  let Kind;
  try {
    Kind = load ? await load() : Missing;
  } catch {
    Kind = Missing; // a file that did not come
  }
  if (mine !== turn) return;
  show(who.role && !door ? new Kind(frame, ...decoded(match)) : gate(), focus);
}

function decoded(match) {
  try {
    return (match ?? []).slice(1).map(decodeURIComponent);
  } catch {
    return [""];
  }
}

const gate = () => (who.setup ? new Password(enter, who) : new Login(enter, who));

function show(page, focus) {
  view = page;
  $("main").replaceChildren(view.element);
  document.body.classList.remove("lost");
  say($("lost"), "");
  say($("link-text"), view.stream ? t("connecting") : "");
  title();
  if (focus) {
    scrollTo(0, 0);
    $("main").focus({ preventScroll: true });
  }
  if (view.stream) end = follow(`/api/v1/stream?${view.stream}`, (data) => page === view && connected(data), () => page === view && lost());
}

class Missing {
  constructor() {
    this.element = el("div", el("h1", t("no_page")), el("p", link("/", t("to_plant"))));
  }
  title() { return t("no_page"); }
}

function go(href) {
  history.pushState(null, "", href);
  open(true);
}

function title() {
  const text = view?.title?.() ?? t("title");
  document.title = [live || !view?.stream ? "" : arrived ? `⚠ ${t("not_live")}` : "", text, gateway().id].filter(Boolean).join(" – ");
}

// --- what the stream brings ------------------------------------------------------------------------------------------

function connected(data) {
  if (data.gateway && typeof data.gateway === "object") showZone(data);
  if (data.t) {
    shown = data.t;
    arrived = Date.now();
    say($("clock"), timeOfDay(data.t));
  }
  live = true;
  document.body.classList.remove("lost");
  document.body.classList.add("live");
  say($("lost"), "");
  say($("link-text"), t("live"));
  view.show(data);
  title();
  if (!performance.getEntriesByName("first-values").length) performance.mark("first-values");
}

async function lost() {
  live = false;
  document.body.classList.remove("live");
  document.body.classList.add("lost");
  say($("lost"), shown ? t("lost", { time: timeOfDay(shown) }) : t("never"));
  say($("link-text"), t("not_live"));
  title();
  // The stream may have ended because nobody is logged in any more, or because its machine is gone.
  const was = turn;
  const now = await session().catch(() => null);
  if (now && !now.role && was === turn) {
    who = now;
    enter();
  } else if (now && was === turn && (await view?.refused?.()) && was === turn) {
    end(); // the gateway is there, and says that there is nothing to show
    document.body.classList.remove("lost");
    say($("lost"), "");
    say($("link-text"), "");
    title();
  }
}

setInterval(() => live || !shown || view?.tick?.(), 1000); // ages grow on while nothing arrives

// --- the gateway as a whole ------------------------------------------------------------------------------------------

/** All times are those of the plant; where its clocks are not the reader's, that is said once. */
function showZone({ gateway: of }) {
  const name = of?.timezone ?? "";
  if (name === zone) return;
  zone = name;
  useZone(name);
  say($("zone"), foreign() && t("zone", { zone: name }));
}

function showAbout() {
  const { version, uptime_s, delivery } = gateway();
  const text = version && t("about", { version, uptime: duration(uptime_s ?? 0), delivery: t(`delivery_${delivery}`) ?? "" });
  say($("about"), text);
}

function showSafe(safe) {
  $("safe").hidden = !safe;
  if (!safe) return $("safe").replaceChildren();
  const errors = (safe.errors ?? []).map((error) => error.text ?? String(error));
  const key = JSON.stringify(errors);
  if ($("safe").dataset.key === key) return;
  mark($("safe"), "key", key);
  const head = el("p");
  sayState(head, "offline", t("safe_mode"));
  const list = el("ul", ...errors.map((text) => english(text, "li")));
  $("safe").replaceChildren(head, list, el("p", link("/config", t("safe_mode_do"))));
}

function showWho() {
  const { user, role, login } = who;
  $("who").hidden = login === "none" || !role;
  if ($("who").hidden) return;
  const out = button("plain", t("log_out"), async () => {
    await post("/api/v1/logout").catch(() => null);
    enter();
  });
  const named = user ? t("logged_in", { user, role: t(`role.${role}`) ?? role }) : t("looking_on", { role: t(`role.${role}`) ?? role });
  const change = user && login === "password" ? button("plain", t("change_password"), () => show(new Password(enter, who), true)) : null;
  $("who").replaceChildren(el("span", named), ...(user ? [change, login === "password" ? out : null].filter(Boolean) : [button("plain", t("log_in"), () => show(new Login(enter, who), true))]));
}

/** Ask who looks on, and show the page of the address. */
async function enter() {
  try {
    who = await session();
  } catch (error) {
    if (error.status === 401 || error.status === 403) who = { user: null, role: null, login: "password" };
    else if (!who.role) {
      document.body.classList.add("lost");
      say($("lost"), t("never"));
      setTimeout(enter, 2000);
      return;
    }
  }
  document.body.classList.toggle("out", !who.role);
  if (!plant) say($("gateway").firstElementChild, t("title"));
  showWho();
  // The plant brings it itself; elsewhere it has to be known before the first time is written.
  if (who.role && location.pathname !== "/") await get("/api/v1/plant").then(frame.tell, () => null);
  await open(false);
}

document.documentElement.lang = language;
for (const element of document.querySelectorAll("[data-text]")) say(element, t(element.dataset.text));
for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", t(element.dataset.label));
document.querySelector(`footer [lang=${language}]`).setAttribute("aria-current", "true");
document.querySelector(".skip").onclick = (event) => {
  event.preventDefault();
  $("main").focus();
};

document.addEventListener("click", (event) => {
  const a = event.target.closest?.("a[href]");
  if (!a || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  if (a.origin !== location.origin || a.search.includes("lang=") || !PAGES.some(([form]) => form.test(a.pathname))) return;
  event.preventDefault();
  if (a.href !== location.href) go(a.href);
});
addEventListener("popstate", () => open(true));
addEventListener("keydown", (event) => {
  const field = document.querySelector("main input[type=search]");
  if (event.key !== "/" || event.ctrlKey || event.metaKey || !field || event.target.closest("input, textarea, select")) return;
  event.preventDefault();
  field.focus();
});

PAGES.find(([form]) => form.test(location.pathname))?.[1]().catch(() => null); // on its way while we ask who looks on
enter();
