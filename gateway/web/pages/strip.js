// A day of a machine as a strip: the height says the state as well as the colour.

import { svg } from "./dom.js";
import { duration, percent } from "./format.js";
import { t } from "./texts.js";

const HEIGHT = { online: 4, degraded: 9, offline: 14, unknown: 1 };
const WIDTH = 1000;

/** `stretches`: [[from_ms, state], …] in order. */
export function strip(stretches, from, to, kind = "strip") {
  const whole = to - from;
  const sums = {};
  const bars = [];
  let last = null;
  stretches.forEach(([start, state], i) => {
    const begin = Math.max(start, from);
    const end = Math.min(stretches[i + 1]?.[0] ?? to, to);
    if (end <= begin) return;
    sums[state] = (sums[state] ?? 0) + end - begin;
    const x = (begin - from) / whole * WIDTH;
    const width = Math.max((end - begin) / whole * WIDTH, state === "offline" ? 1.5 : 0.4); // a short failure is seen, too
    if (last && last.state === state) return last.bar.setAttribute("width", x + width - last.x);
    const height = HEIGHT[state] ?? HEIGHT.unknown;
    const bar = svg("rect", { x, y: 14 - height, width, height, class: `s-${state in HEIGHT ? state : "unknown"}` });
    last = { state, bar, x };
    bars.push(bar);
  });
  const said = Object.entries(sums).sort((a, b) => b[1] - a[1])
    .map(([state, ms]) => `${t(state) ?? t("unknown")} ${percent(ms / whole)}`).join(", ");
  const label = t("strip", { time: duration(whole / 1000), said: said || t("unknown") });
  return svg("svg", { class: kind, viewBox: `0 0 ${WIDTH} 14`, preserveAspectRatio: "none", role: "img", "aria-label": label }, ...bars);
}
