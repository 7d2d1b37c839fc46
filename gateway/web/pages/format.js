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

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]].map(([unit, seconds]) => [
  new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: 0 }),
  seconds,
]);

/** A length of time in its largest unit: "42 sec", "3 hr". */
export function duration(seconds) {
  const [format, length] = UNITS.find(([, length]) => seconds >= length) ?? UNITS.at(-1);
  return format.format(Math.floor(seconds / length));
}

/** How old a reading is. A time that is still to come is a wrong clock, and not a fresh reading. */
export function age(seconds) {
  if (seconds < -2) return t("clock_ahead", { time: duration(-seconds) });
  return seconds < 2 ? t("now") : duration(seconds);
}

const TIME = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const SECONDS = new Intl.DateTimeFormat(language, { timeStyle: "medium", hourCycle: "h23" });
const DATE = new Intl.DateTimeFormat(language, {
  day: "2-digit", month: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23",
});
const DAY_SECONDS = new Intl.DateTimeFormat(language, {
  day: "2-digit", month: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});
const YEAR_SECONDS = new Intl.DateTimeFormat(language, { dateStyle: "short", timeStyle: "medium", hourCycle: "h23" });

const AT = new Intl.DateTimeFormat(language, { dateStyle: "short", timeStyle: "medium", hourCycle: "h23" });
const MILLIS = new Intl.DateTimeFormat(language, {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23",
});
const DAY = new Intl.DateTimeFormat(language, { day: "2-digit", month: "2-digit" });

/** A time with its date, for lists and tables. */
export const at = (ms) => AT.format(ms);

/** A mark on a time axis whose marks are so many ms apart. */
export const tick = (ms, step) => (step < 1000 ? MILLIS : step < 60e3 ? SECONDS : step < 864e5 ? TIME : DAY).format(ms);
export const day = (ms) => DAY.format(ms);

export const timeOfDay = (ms) => SECONDS.format(ms);

/** When something began: the time, with its date where that was not within the last 20 hours. */
export const moment = (ms, now) => (now - ms < 72e6 ? TIME : DATE).format(ms);

/** From when to when, with day and year where they are not those of today. */
export function span(from, to, now) {
  const far = Math.max(Math.abs(now - from), Math.abs(now - to));
  const format = far < 72e6 ? SECONDS : far < 150 * 864e5 ? DAY_SECONDS : YEAR_SECONDS;
  return format.formatRange(Math.min(from, to), Math.max(from, to));
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
