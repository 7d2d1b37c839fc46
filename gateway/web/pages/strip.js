// A day of a machine as a strip: the height says the state as well as the colour. Where nothing is drawn, the hatch
// behind it shows: that is not known. A frame of 1 px around each bar, which does not scale, keeps a minute of a day visible.

import { svg } from "./dom.js";
import { duration, percent } from "./format.js";
import { t } from "./texts.js";

const HEIGHT = { online: 4, degraded: 9, offline: 14 };
const WORST = ["online", "degraded", "offline"]; // the frame of what is worse lies over that of what is better
const WIDTH = 1000;

/** `stretches`: [[from_ms, state], …] in order; `present`: how it is now, if that is known better. */
export function strip(stretches, from, to, present) {
  const sums = {};
  const bars = [];
  const add = (state, x, end) => {
    if (!Object.hasOwn(HEIGHT, state)) return null;
    const height = HEIGHT[state];
    const bar = svg("rect", { x, y: 14 - height, width: Math.max(end - x, 0.01), height, class: `s-${state}` });
    bars.push([state, bar]);
    return bar;
  };
  const x = (time) => (time - from) / (to - from) * WIDTH;
  stretches.forEach(([start, state], i) => {
    const begin = Math.max(start, from);
    const end = Math.min(stretches[i + 1]?.[0] ?? to, to);
    if (end <= begin) return;
    sums[state] = (sums[state] ?? 0) + end - begin;
    add(state, x(begin), x(end));
  });
  bars.sort(([a], [b]) => WORST.indexOf(a) - WORST.indexOf(b));
  add(present ?? stretches.at(-1)?.[1], WIDTH, WIDTH)?.classList.add("present");
  const said = Object.entries(sums).sort((a, b) => b[1] - a[1])
    .map(([state, ms]) => `${t(state) ?? t("unknown")} ${percent(ms / (to - from))}`).join(", ");
  const label = t("strip", { time: duration((to - from) / 1000), said: said || t("unknown") });
  return svg("svg", { class: "strip", viewBox: `0 0 ${WIDTH} 14`, preserveAspectRatio: "none", role: "img", "aria-label": label }, ...bars.map(([, bar]) => bar));
}
