// Why figures are to be doubted, in the reader's language. The gateway says it in English, which is kept in its signals:
// this is the one place that knows its sentences. One that is not known is shown as it is.

import { digits } from "./format.js";
import { t } from "./texts.js";

const N = "(-?[\\d.e+]+)";
const DOUBTS = [
  ["late", `begins with the first reading, ${N} min late`, "n"],
  ["no_readings", "no readings of '(.+)'", "name"],
  ["estimated_energy", `${N}% of the energy are spread evenly over a time without readings`, "n"],
  ["estimated", `${N}% of '(.+)' are spread evenly over a time without readings`, "n", "name"],
  ["not_read_planned", `'(.+)' was not read for ${N}% of the planned time`, "name", "n"],
  ["not_read", `'(.+)' was not read for ${N}% of the time`, "name", "n"],
  ["more_good", "more good parts than parts"],
  ["sums", `'good' and 'reject' are ${N}, 'total' is ${N}`, "sum", "total"],
  ["state_unknown", `the state is unknown for ${N}% of the planned busy time`, "n"],
  ["performance", `performance is ${N}%: \`ideal_cycle\` may be too long`, "n"],
  ["never_running", "parts were counted, but the machine was never running"],
].map(([key, form, ...names]) => [key, new RegExp(`^${form}$`), names]);

/** All of them, as one line. */
export const doubtsOf = (said) => said.split("; ").map(doubtOf).join("; ");

function doubtOf(said) {
  for (const [key, form, names] of DOUBTS) {
    const found = form.exec(said);
    if (found) return t(`doubt.${key}`, Object.fromEntries(names.map((name, i) => [name, name === "name" ? found[i + 1] : digits(found[i + 1])])));
  }
  return said;
}
