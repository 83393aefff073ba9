// Curves over time as SVG: axes in the site's own time, gaps stay gaps, each curve named at its end.

import { number, s, t } from "./dom.js";

const W = innerWidth > 1000 ? 1400 : 800, H = 300, // so that its letters are those of the page
  LEFT = 64, RIGHT = 150, TOP = 14, BOTTOM = 28;

function ticks(low, high, most) {
  const raw = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((m) => m >= raw);
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step / 1e6; v += step) found.push(v);
  return [found, Math.max(0, -Math.floor(Math.log10(step)))];
}

const TIME_STEPS = [1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 604800, 2592000].map((x) => x * 1000);

/** curves: [{name, t_ms, values, band: bool}]; unit stands at the axis. */
export function chart(curves, { startMs, stopMs, unit, zone, lang, label, scale = 1, zeroBased = false }) {
  const all = curves.flatMap((c) => c.values).filter((v) => v !== null).map((v) => v * scale);
  const frame = { viewBox: `0 0 ${W} ${H}`, class: "chart", role: "img", "aria-label": label };
  if (!all.length) return s("svg", frame, s("text", { x: W / 2, y: H / 2, "text-anchor": "middle", class: "none" }, t("history.none")));
  let low = Math.min(...all, zeroBased ? 0 : Infinity), high = Math.max(...all);
  if (high - low < 1e-9) [low, high] = [low - 0.5, high + 0.5];
  const x = (ms) => LEFT + ((ms - startMs) / (stopMs - startMs)) * (W - LEFT - RIGHT);
  const y = (v) => H - BOTTOM - ((v - low) / (high - low)) * (H - TOP - BOTTOM);
  const [marks, digits] = ticks(low, high, 5);
  const step = TIME_STEPS.find((st) => (stopMs - startMs) / st <= 8) ?? TIME_STEPS.at(-1);
  const times = [];
  for (let at = Math.ceil(startMs / step) * step; at <= stopMs; at += step) times.push(at);
  const clock = (at) => step >= 86400000
    ? new Date(at).toLocaleDateString(lang, { timeZone: zone, day: "2-digit", month: "2-digit" })
    : new Date(at).toLocaleTimeString(lang, { timeZone: zone, hour: "2-digit", minute: "2-digit", second: step < 60000 ? "2-digit" : undefined });
  let taken = [];
  const endings = curves.map((c) => {
    const last = c.values.findLast((v) => v !== null);
    let at = last === undefined ? H / 2 : y(last * scale);
    while (taken.some((other) => Math.abs(other - at) < 15)) at += 15;
    taken.push(at);
    return at;
  });
  return s("svg", frame,
    marks.map((v) => s("g", { class: "mark" }, s("line", { x1: LEFT, x2: W - RIGHT, y1: y(v), y2: y(v) }),
      s("text", { x: LEFT - 6, y: y(v) + 4, "text-anchor": "end" }, number(v, digits)))),
    times.map((at) => s("text", { class: "time", x: x(at), y: H - 8, "text-anchor": "middle" }, clock(at))),
    s("text", { class: "unit", x: 4, y: 12 }, unit),
    curves.map((c, i) => s("g", { class: `curve c${i}` },
      s("path", { d: path(c, x, (v) => y(v * scale)) }),
      s("text", { x: W - RIGHT + 8, y: endings[i] + 4 }, c.name))));
}

function path({ t_ms, values }, x, y) {
  let d = "", pen = false;
  for (let i = 0; i < values.length; i++) {
    if (values[i] === null) { pen = false; continue; }
    d += `${pen ? "L" : "M"}${x(t_ms[i]).toFixed(1)} ${y(values[i]).toFixed(1)}`;
    pen = true;
  }
  return d;
}
