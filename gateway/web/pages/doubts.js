// Why figures are to be doubted, in the reader's language. The gateway says it in English, which is kept in its signals:
// this is the one place that knows its sentences. One that is not known is shown as it is.

import { digits } from "./format.js";
import { formsOf, inWords } from "./said.js";

const N = "(-?[\\d.e+]+)";
const DOUBTS = formsOf([
  ["doubt.late", `begins with the first reading, ${N} min late`, "n"],
  ["doubt.no_readings", "no readings of '(.+)'", "name"],
  ["doubt.estimated_energy", `${N}% of the energy are spread evenly over a time without readings`, "n"],
  ["doubt.estimated", `${N}% of '(.+)' are spread evenly over a time without readings`, "n", "name"],
  ["doubt.not_read_planned", `'(.+)' was not read for ${N}% of the planned time`, "name", "n"],
  ["doubt.not_read", `'(.+)' was not read for ${N}% of the time`, "name", "n"],
  ["doubt.more_good", "more good parts than parts"],
  ["doubt.sums", `'good' and 'reject' are ${N}, 'total' is ${N}`, "sum", "total"],
  ["doubt.state_unknown", `the state is unknown for ${N}% of the planned busy time`, "n"],
  ["doubt.performance", `performance is ${N}%: \`ideal_cycle\` may be too long`, "n"],
  ["doubt.came_late", "readings of '(.+)' that came late do not fit: it may have been more", "name"],
  ["doubt.peak", "the peak may have been in a time without readings"],
  ["doubt.steps", `for ${N}% of the energy it is not known in which state it was: the meter counts in steps that are too large`, "n"],
  ["doubt.never_running", "parts were counted, but the machine was never running"],
]);
const NUMBERS = { n: digits, sum: digits, total: digits };

/** All of them, as parts of one line. */
export const doubts = (all) => all.split("; ").map((one) => inWords(DOUBTS, one, NUMBERS) ?? { en: one });
