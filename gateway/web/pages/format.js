// Numbers, times and units as people here write them.

import { language, t } from "./texts.js";

const parts = new Intl.NumberFormat(language).formatToParts(1234567.8);
const sign = (type) => parts.find((part) => part.type === type)?.value ?? "";
const GROUP = sign("group");
const DECIMAL = sign("decimal");

/** A number that came as text. By its digits, not through Number, which would falsify a long one. */
export function digits(text) {
  const number = /^(-?)(\d+)(?:\.(\d+))?(e.*)?$/.exec(text);
  if (!number) return text;
  const [, minus, whole, fraction, exponent = ""] = number;
  return minus + whole.replace(/\B(?=(\d{3})+$)/g, GROUP) + (fraction ? DECIMAL + fraction : "") + exponent;
}

const WHOLE = new Intl.NumberFormat(language, { maximumFractionDigits: 0 });
const TENTHS = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
const PERCENT = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 });

export const count = (n) => (n < 100 ? TENTHS : WHOLE).format(n);
export const percent = (part) => PERCENT.format(part);

/** A number that is one, with six digits at most. */
const SIX = new Intl.NumberFormat(language, { maximumSignificantDigits: 6 });
export const number = (n) => SIX.format(n);

const FOUR = new Intl.NumberFormat(language, { maximumSignificantDigits: 4 });

/** What can be read from afar: four digits, or all of the whole ones. */
export const rough = (n) => (Math.abs(n) < 1e4 ? FOUR : WHOLE).format(n);

const SIZES = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"].map(
  (unit) => new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: 1 }),
);

/** How many bytes, in thousands. */
export function bytes(n) {
  let step = 0;
  for (; n >= 1000 && step < SIZES.length - 1; step++) n /= 1000;
  return SIZES[step].format(n);
}

const LENGTHS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1], ["millisecond", 0.001]];
const UNITS = LENGTHS.map(([unit, length]) => {
  const format = (digits) => new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: digits });
  return { length, whole: format(0), tenths: format(1) };
});
const SECOND = UNITS.at(-2);
const TINY = 1e-9; // 0.3 / 0.001 is a little less than 300

/** A length of time in its largest unit: "250 ms", "42 sec", "3 hr". */
export function duration(seconds) {
  const { whole, length } = UNITS.find(({ length }) => seconds >= length) ?? SECOND;
  return whole.format(Math.floor(seconds / length + TINY));
}

/** The same where nothing may be left out: "500 ms", "1.5 sec", "90 sec". */
export function period(seconds) {
  const exact = ({ length }) => Math.abs(seconds / length - Math.round(seconds / length)) < TINY;
  const unit = UNITS.find((unit) => seconds >= unit.length && exact(unit));
  return unit && unit.length >= 1 ? unit.whole.format(Math.round(seconds / unit.length)) : seconds < 1 ? UNITS.at(-1).tenths.format(seconds * 1000) : SECOND.tenths.format(seconds);
}

/** How old a reading is. A time that is still to come is a wrong clock, and not a fresh reading. */
export function age(seconds) {
  if (seconds < -2) return t("clock_ahead", { time: duration(-seconds) });
  return seconds < 2 ? t("now") : duration(seconds);
}

// --- times: of the plant, wherever somebody looks at them ------------------------------------------------------------

let zone; // of the plant; undefined: not known, so the browser's

/** A format of times, made when it is needed: in the zone of the plant, or in another one. */
function timed(options) {
  const made = new Map();
  return (of = zone) => {
    if (!made.has(of)) made.set(of, new Intl.DateTimeFormat(language, { ...options, hourCycle: "h23", timeZone: of }));
    return made.get(of);
  };
}

const HOUR = { hour: "2-digit", minute: "2-digit" };
const TIME = timed(HOUR);
const SECONDS = timed({ timeStyle: "medium" });
const DATE = timed({ day: "2-digit", month: "2-digit", ...HOUR });
const DAY_SECONDS = timed({ day: "2-digit", month: "2-digit", ...HOUR, second: "2-digit" });
const AT = timed({ dateStyle: "short", timeStyle: "medium" });
const MILLIS = timed({ ...HOUR, second: "2-digit", fractionalSecondDigits: 3 });
const DAY = timed({ day: "2-digit", month: "2-digit" });
const WALL = timed({ year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric", calendar: "gregory", numberingSystem: "latn" });

/** Show the times of the plant from now on. A zone that this browser does not know changes nothing. */
export function useZone(name) {
  try {
    WALL(name || undefined);
    zone = name || undefined;
  } catch {
    zone = undefined;
  }
}

/** How far the clocks on the wall are ahead of UTC at a time, in ms. */
export function ahead(ms, of = zone) {
  const part = Object.fromEntries(WALL(of).formatToParts(ms).map(({ type, value }) => [type, Number(value)]));
  return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second) - Math.floor(ms / 1000) * 1000;
}

/** The name of a zone where its clocks are not those of the reader, in summer or in winter; else "". */
export function foreign(name = zone, ms = Date.now()) {
  const here = new Intl.DateTimeFormat().resolvedOptions().timeZone;
  return name && [0, 183 * 864e5].some((later) => ahead(ms + later, name) !== ahead(ms + later, here)) ? name : "";
}

/** The zone of shifts and hours: that of the plant, UTC where none is configured. */
export const figureZone = () => zone ?? "UTC";

/** A time with its date, for lists and tables. */
export const at = (ms) => AT().format(ms);

/** A mark on a time axis whose marks are so many ms apart. */
export const tick = (ms, step) => (step < 1000 ? MILLIS : step < 60e3 ? SECONDS : step < 864e5 ? TIME : DAY)().format(ms);

export const timeOfDay = (ms) => SECONDS().format(ms);

/** When something began: the time, with its date where that was not within the last 20 hours. */
export const moment = (ms, now) => (now - ms < 72e6 ? TIME : DATE)().format(ms);

/** From when to when, with day and year where they are not those of today. */
export const span = (from, to, now) => spanned(from, to, now, [SECONDS, DAY_SECONDS]);

/** The same of a shift or an hour: in their zone, and without seconds where there are none. */
export function interval(from, to, now) {
  const whole = from % 60e3 === 0 && to % 60e3 === 0;
  return spanned(from, to, now, whole ? [TIME, DATE] : [SECONDS, DAY_SECONDS], figureZone());
}

function spanned(from, to, now, [today, lately], of = zone) {
  const far = Math.max(Math.abs(now - from), Math.abs(now - to));
  if (far < 72e6) return `${today(of).format(from)} – ${today(of).format(to)}`; // a night needs no date
  return (far < 150 * 864e5 ? lately : AT)(of).formatRange(Math.min(from, to), Math.max(from, to));
}

const PRINTED = { Cel: "°C", "[degF]": "°F", deg: "°", Ohm: "Ω", "[psi]": "psi", "[pH]": "pH", "1": "" };

/** A UCUM code as it is printed: kW.h → kWh, m3/h → m³/h, {parts}/min → parts/min. */
export function unit(ucum) {
  return PRINTED[ucum] ?? ucum
    .replace(/[{}]/g, "")
    .replace(/([a-zA-Z])2\b/g, "$1²")
    .replace(/([a-zA-Z])3\b/g, "$1³")
    .replace(/\bCel\b/g, "°C")
    .replace(/\bOhm\b/g, "Ω")
    .replace(/\bu(?=[a-zA-Z])/g, "µ")
    .replace(/\.h\b/g, "h")
    .replaceAll(".", "·");
}
