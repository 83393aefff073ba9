// Curves of any signal, from an hour to a year.

import { chart } from "./chart.js";
import { ask, h, lang, locale, t } from "./dom.js";
import { HOUR } from "./places.js";
import { declared, now, onChange, siteOf, state } from "./state.js";

const SPANS = [[HOUR, "1 h"], [6 * HOUR, "6 h"], [24 * HOUR, "24 h"], [7 * 24 * HOUR, "7 d"], [31 * 24 * HOUR, "31 d"], [366 * 24 * HOUR, "1 y"]];

/** Curves with a choice of span, steps back and forth, and CSV of what is shown. */
export function historyPanel(root, site, device, fields, unit, spanMs, scale = 1) {
  let span = spanMs, back = 0;
  const drawing = h("div", { class: "drawing" }), told = h("p", { class: "calm" });
  const buttons = h("div", { class: "row", role: "group", "aria-label": t("history.span") }, SPANS.map(([ms, key]) =>
    h("button", { class: "quiet", "aria-pressed": String(ms === span), onclick: (event) => {
      span = ms; back = 0;
      for (const b of event.target.parentNode.children) b.setAttribute("aria-pressed", String(b === event.target));
      draw();
    } }, t(`history.${key.replace(" ", "")}`))),
  h("button", { class: "quiet", onclick: () => { back += 1; draw(); }, "aria-label": t("history.earlier") }, "◀"),
  h("button", { class: "quiet", onclick: () => { back = Math.max(0, back - 1); draw(); }, "aria-label": t("history.later") }, "▶"),
  h("a", { class: "button quiet", download: true, href: "#" }, "CSV"));
  root.append(h("h2", {}, t("history.title")), buttons, drawing, told);
  async function draw() {
    if (!state.nowMs) return;
    const stopMs = Math.round(now() - back * span), startMs = Math.round(stopMs - span);
    const query = { site, device, fields: fields.join(","), start_ms: startMs, stop_ms: stopMs };
    buttons.querySelector("a").href = `/api/1/history?${new URLSearchParams({ ...query, format: "csv" })}`;
    try {
      const said = await ask("history", { ...query, pixels: 800 });
      const points = declared(site, device)?.points ?? [];
      const named = said.curves.map((c) => ({ ...c, name: points.find((p) => p.name === c.field)?.[lang] ?? c.field }));
      const zone = siteOf(site)?.timezone ?? "Europe/Paris";
      drawing.replaceChildren(chart(named, { startMs, stopMs, unit, zone, lang: locale, scale, label: t("history.label", { device }), zeroBased: scale !== 1 }));
      told.textContent = "";
    } catch (error) {
      told.textContent = error.message;
    }
  }
  draw();
  const first = onChange(() => { first(); draw(); }); // the first word of the server says what time it is
  const timer = setInterval(() => { if (!back && span <= 24 * HOUR) draw(); }, 10000);
  return () => { first(); clearInterval(timer); };
}

export function historyView(root, site, name) {
  const device = declared(site, name);
  root.append(h("h1", {}, name));
  if (!device) { root.append(h("p", { class: "wrong" }, t("gone"))); return () => {}; }
  const numeric = device.points.filter((p) => p.type !== "str");
  const panel = h("section", { class: "trend" });
  let stop = () => {};
  const draw = (point) => {
    stop();
    panel.replaceChildren();
    stop = historyPanel(panel, site, name, [point.name], point.unit, 6 * HOUR);
  };
  root.append(h("label", {}, t("history.point"), h("select", { onchange: (e) => draw(numeric[e.target.selectedIndex]) }, numeric.map((p) => h("option", {}, p[lang] || p.name)))), panel);
  if (numeric.length) draw(numeric[0]);
  return () => stop();
}
