// The page: what is at which address, the frame around it, and what holds for all of it.

import { alarmsView } from "./alarms.js";
import { berthView } from "./berth.js";
import { ask, h, instant, lang, me, number, show, t, wall } from "./dom.js";
import { historyView } from "./history.js";
import { lockView } from "./lock.js";
import { overviewView } from "./overview.js";
import { soundButton, soundFor } from "./sound.js";
import { begin, now, onChange, state } from "./state.js";

const app = document.getElementById("app");
const main = h("main", { id: "main", tabindex: -1 });
const banner = h("div", { class: "banners", role: "alert" });
const clock = h("time");
const badge = h("span", { class: "badge" });
const THEMES = ["auto", "light", "dark"];

function applyTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
}
applyTheme(localStorage.getItem("theme") ?? "auto");

function header() {
  const theme = h("button", {
    class: "quiet", onclick: () => {
      applyTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
      theme.textContent = t(`theme.${document.documentElement.dataset.theme}`);
    },
  }, t(`theme.${document.documentElement.dataset.theme}`));
  const other = lang === "fr" ? "en" : "fr";
  const tongue = h("button", { class: "quiet", lang: other, onclick: () => {
    document.cookie = `lang=${other}; path=/; max-age=315360000; samesite=strict`;
    location.reload();
  } }, other === "en" ? "English" : "Français");
  return h("header", {}, h("a", { class: "skip", href: "#main" }, t("skip")),
    h("nav", { "aria-label": t("nav.title") }, h("a", { href: "/", class: "brand" }, "bollard"), h("a", { href: "/" }, t("nav.overview")),
      h("a", { href: "/alarms" }, t("nav.alarms"), " ", badge), h("a", { href: "/reports" }, t("nav.reports")),
      me.role === "admin" ? h("a", { href: "/audit" }, t("nav.audit")) : null),
    h("div", { class: "row" }, clock, soundButton(), theme, tongue, h("span", { class: "who" }, `${me.name} (${t(`role.${me.role}`)})`),
      h("form", { method: "post", action: "/logout" }, h("button", { class: "quiet" }, t("logout")))));
}

function reportsView(root) {
  const list = h("section");
  root.append(h("h1", {}, t("nav.reports")), list);
  ask("reports").then(({ reports }) => show(list, reports.length ? h("ul", {}, reports.map((r) => h("li", {},
    h("a", { href: `/api/1/reports/${encodeURIComponent(r.name)}`, download: true }, r.name),
    ` ${number(r.bytes / 1000)} kB, ${instant(r.made_ms)}`))) : h("p", { class: "calm" }, t("reports.none"))))
    .catch((error) => show(list, h("p", { class: "wrong" }, error.message)));
  return () => {};
}

function auditView(root) {
  const list = h("section");
  root.append(h("h1", {}, t("nav.audit")), list);
  ask("audit").then(({ entries }) => show(list, h("table", {}, h("tbody", {}, entries.map((e) => h("tr", {},
    h("td", {}, instant(e.t_ms)), h("td", {}, e.who), h("td", {}, e.action), h("td", {}, e.detail)))))))
    .catch((error) => show(list, h("p", { class: "wrong" }, error.message)));
  return () => {};
}

const ROUTES = [
  [/^\/$/, (root) => overviewView(root)],
  [/^\/wall$/, (root) => overviewView(root, { wallDisplay: true })],
  [/^\/alarms$/, alarmsView],
  [/^\/reports$/, reportsView],
  [/^\/audit$/, auditView],
  [/^\/lock\/([^/]+)\/([^/]+)$/, lockView],
  [/^\/berth\/([^/]+)\/([^/]+)$/, berthView],
  [/^\/history\/([^/]+)\/([^/]+)$/, historyView],
];
let leave = () => {};

function go(path) {
  leave();
  const [pattern, view] = ROUTES.find(([p]) => p.test(path)) ?? ROUTES[0];
  const root = h("div", { class: "view" });
  main.replaceChildren(root);
  leave = view(root, ...(pattern.exec(path) ?? []).slice(1).map(decodeURIComponent)) ?? (() => {});
  document.title = `${main.querySelector("h1")?.textContent ?? ""} · bollard`;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || link.hasAttribute("download") || link.origin !== location.origin || link.hash) return;
  if (!ROUTES.some(([p]) => p.test(link.pathname))) return;
  event.preventDefault();
  history.pushState(null, "", link.pathname);
  go(link.pathname);
  main.focus();
});
addEventListener("popstate", () => go(location.pathname));

function frame() {
  const simulated = Object.values(state.devices).some((d) => d.origin && d.origin !== "real");
  document.body.classList.toggle("unlinked", !state.linked);
  show(banner,
    simulated ? h("p", { class: "simulation" }, t("simulation")) : null,
    state.linked ? null : h("p", { class: "fault" }, t("banner.unlinked")),
    state.linked && !state.broker ? h("p", { class: "fault" }, t("banner.broker")) : null,
    state.linked && state.problem ? h("p", { class: "fault" }, t("banner.book")) : null,
    state.linked && state.unsent ? h("p", { class: "fault" }, t("banner.unsent")) : null,
    state.linked && state.leftOut ? h("p", { class: "fault" }, t("banner.left_out", { n: state.leftOut })) : null);
  clock.textContent = state.nowMs ? instant(Math.floor(now() / 1000) * 1000, state.sites[0]?.timezone ?? "Europe/Paris") : "";
  const { asking } = state;
  if (state.nowMs) soundFor(state.alarms);
  badge.textContent = String(asking);
  badge.classList.toggle("none", !asking); // keeps its place: the frame must not move either
}

document.body.classList.toggle("onwall", wall);
app.replaceChildren(wall ? "" : header(), banner, main, h("footer", { class: "standing" }, t("standing")));
onChange(frame);
setInterval(frame, 1000);
begin().catch((error) => show(banner, h("p", { class: "fault" }, error.message))).then(() => go(location.pathname));
