// Questions to the gateway. What it refuses is an error with its own words and its hint.

export class Refused extends Error {
  constructor(status, text, hint) {
    super(text);
    this.status = status; // 0: no answer at all
    this.hint = hint;
  }
}

let csrf = "";
let early = null; // the first question about the session, asked while other files are still on their way

/** Who looks on and what they may do: {user, role, csrf, login}. A gateway without logins has no such answer. */
export async function session() {
  try {
    const asked = early ?? get("/api/v1/session");
    early = null;
    const answer = await asked;
    csrf = answer.csrf ?? "";
    return answer;
  } catch (error) {
    if (error.status === 404) return { user: null, role: "engineer", csrf: "", login: "none" };
    throw error;
  }
}

export const get = (path) => ask(path, {});

export const post = (path, body = {}) =>
  ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
    body: JSON.stringify(body),
  });

async function ask(path, how) {
  let response, text;
  try {
    response = await fetch(path, { credentials: "same-origin", ...how });
    text = await response.text();
  } catch {
    throw new Refused(0, "", "");
  }
  let content = null;
  try {
    content = text ? JSON.parse(text) : null;
  } catch {
    if (response.ok) throw new Refused(response.status, text.trim(), "");
  }
  if (response.ok) return content;
  throw new Refused(response.status, content?.error ?? text.trim(), content?.hint ?? "");
}

early = get("/api/v1/session");
early.catch(() => null); // it is answered where it is asked for

let catalogue = null;
let titles = {};

/** What a fault means, in the language: {title, causes, checks}; null where it is not in the catalogue. */
export async function explain(language, code) {
  catalogue ??= get("/api/v1/faults").catch(() => {
    setTimeout(() => { catalogue = null; }, 10_000); // asked for again later
    return {};
  });
  const faults = await catalogue;
  titles = faults;
  const of = (tongue) => (Object.hasOwn(faults[tongue] ?? {}, code) ? faults[tongue][code] : null);
  return of(language) ?? of("en");
}

/** What a fault is called; "" until that is known, which asking for it brings about. */
export function titleOf(language, code) {
  if (!code) return "";
  if (!Object.hasOwn(titles, language)) explain(language, code);
  else if (Object.hasOwn(titles[language], code)) return titles[language][code].title;
  return "";
}
