// bollard's own alarms: a list, what one may do about them, and their journal.

import { ask, duration, h, has, instant, lang, me, number, show, t, tell } from "./dom.js";
import { now, onChange, siteOf, state } from "./state.js";

const MAY = ["supervisor", "engineer", "admin"].includes(me.role);
const zoneOf = (site) => siteOf(site)?.timezone ?? "Europe/Paris";

/** When something happened: with the time that it may have been earlier, since nobody looked in between. */
export function when(ms, uncertainMs, site) {
  const told = instant(ms, zoneOf(site), now());
  return uncertainMs ? `${told} (±\u00a0${number(uncertainMs / 1000, uncertainMs < 1000 ? 1 : 0)}\u00a0s)` : told;
}

const link = (alarm) => {
  const device = siteOf(alarm.site)?.devices.find((d) => d.name === alarm.device);
  return device?.kind === "lock"
    ? h("a", { href: `/lock/${alarm.site}/${alarm.device}` }, alarm.device) : h("span", {}, alarm.device);
};

function dialog(title, fields, send) {
  const told = h("p", { class: "wrong", role: "alert" });
  const box = h("dialog", { "aria-label": title },
    h("form", {
      method: "dialog",
      onsubmit: async (event) => {
        event.preventDefault();
        const wrong = await send(Object.fromEntries(new FormData(event.target)));
        if (wrong) told.textContent = wrong;
        else box.close();
      },
    }, h("h2", {}, title), fields, told, h("p", { class: "standing" }, t("alarm.no_scada")),
    h("div", { class: "row" }, h("button", { type: "submit" }, title),
      h("button", { type: "button", class: "quiet", onclick: () => box.close() }, t("cancel")))));
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
}

const keyOf = ({ site, device, code, point }) => ({ site, device, code, point });
const comment = (required) =>
  h("label", {}, t("alarm.comment"), h("textarea", { name: "comment", rows: 3, maxlength: 500, required }));

const note = (alarm) => dialog(t("alarm.note"), [h("p", {}, alarm.text[lang]), comment(false)],
  (said) => tell("alarms/note", { ...keyOf(alarm), comment: said.comment }));

const shelve = (alarm) => dialog(t("alarm.shelve"), [h("p", {}, alarm.text[lang]),
  h("label", {}, t("alarm.for"), h("select", { name: "minutes" },
    [15, 60, 240, 480, 720].map((m) => h("option", { value: m }, duration(60 * m))))), comment(true)],
  (said) => tell("alarms/shelve", { ...keyOf(alarm), comment: said.comment, minutes: Number(said.minutes) }));

const unshelve = (alarm) => dialog(t("alarm.unshelve"), [h("p", {}, alarm.text[lang]), comment(false)],
  (said) => tell("alarms/unshelve", { ...keyOf(alarm), comment: said.comment }));

function actions(alarm) {
  if (!MAY) return null;
  return h("div", { class: "row" },
    ["unacknowledged", "returned"].includes(alarm.state)
      ? h("button", { onclick: () => note(alarm) }, t("alarm.note")) : null,
    alarm.state === "shelved"
      ? h("button", { class: "quiet", onclick: () => unshelve(alarm) }, t("alarm.unshelve"))
      : h("button", { class: "quiet", onclick: () => shelve(alarm) }, t("alarm.shelve")));
}

function detail(alarm) {
  if (alarm.state === "shelved") {
    return t("alarm.shelved_by", { who: alarm.who, until: instant(alarm.shelved_until_ms, zoneOf(alarm.site), now()), why: alarm.comment });
  }
  if (alarm.noted_ms) {
    const told = t("alarm.noted_by", { who: alarm.who, at: instant(alarm.noted_ms, zoneOf(alarm.site), now()) });
    return alarm.comment ? `${told} : ${alarm.comment}` : told;
  }
  return alarm.active || !alarm.ended_ms ? "" : t("alarm.ended", { at: instant(alarm.ended_ms, zoneOf(alarm.site), now()) });
}

/** Alarms as a table; nothing at all is said as well. */
export function alarmTable(alarms, where = true) {
  if (!alarms.length) return h("p", { class: "calm" }, t("alarm.none"));
  return h("table", { class: "alarms" },
    h("thead", {}, h("tr", {}, ["state", where ? "where" : null, "what", "since", MAY ? "do" : null].filter(Boolean).map((c) => h("th", { scope: "col" }, t(`alarm.col.${c}`))))),
    h("tbody", {}, alarms.map((alarm) => h("tr", { class: `${alarm.state} ${alarm.priority}` },
      h("td", {}, h("span", { class: "badge" }, t(`alarm.priority.${alarm.priority}`)), " ", t(`alarm.state.${alarm.state}`)),
      where ? h("td", { class: "nowrap" }, link(alarm), h("span", { class: "detail" }, alarm.site)) : null,
      h("td", {}, alarm.text[lang], h("span", { class: "detail" }, detail(alarm))),
      h("td", { class: "nowrap" }, when(alarm.since_ms, alarm.uncertain_ms, alarm.site), alarm.times > 1 ? h("span", { class: "detail" }, t("alarm.times", { n: alarm.times })) : null),
      MAY ? h("td", {}, actions(alarm)) : null))));
}

const GROUPED_FROM = 12; // more of one kind than that are one line that opens

/** The same, a flood folded by code: a person reads ten lines, not a thousand. */
function grouped(alarms) {
  const byCode = Map.groupBy ? Map.groupBy(alarms, (a) => a.code) : alarms.reduce((m, a) => m.set(a.code, [...(m.get(a.code) ?? []), a]), new Map());
  if (alarms.length <= 3 * GROUPED_FROM) return alarmTable(alarms);
  return [...byCode].map(([, same]) => same.length > GROUPED_FROM
    ? h("details", {}, h("summary", {}, t("alarm.group", { n: same.length, text: same[0].text[lang] })), alarmTable(same.slice(0, 200)))
    : alarmTable(same));
}

export function alarmsView(root) {
  const flood = h("p", { role: "status" }), list = h("section"), journal = h("section");
  root.append(h("h1", {}, t("alarm.title")), h("p", { class: "standing" }, t("alarm.no_scada")), flood, list,
    h("h2", {}, t("alarm.journal")), journal);
  let marked = "";
  async function readJournal() {
    const { entries } = await ask("alarms/journal", { most: 100 });
    show(journal, entries.length ? h("table", { class: "journal" }, h("tbody", {}, entries.map((e) => h("tr", {},
      h("td", {}, when(e.t_ms, e.uncertain_ms, e.site)), h("td", {}, `${e.site} ${e.device}`),
      h("td", {}, t(`alarm.action.${e.action}`), e.who ? ` (${e.who})` : ""),
      h("td", {}, e.text ? e.text[lang] : has(`code.${e.code}`) ? t(`code.${e.code}`) : e.code, e.comment ? h("span", { class: "detail" }, e.comment) : null))))) : h("p", { class: "calm" }, t("alarm.journal_empty")));
  }
  function draw() {
    flood.textContent = state.rate > 10 ? t("alarm.flood", { n: state.rate }) : t("alarm.rate", { n: state.rate });
    flood.className = state.rate > 10 ? "flood" : "calm";
    const more = state.alarmsInAll - state.alarms.length;
    show(list, grouped(state.alarms), more > 0 ? h("p", { class: "flood" }, t("overview.more", { n: more })) : null);
    const mark = JSON.stringify(state.alarms.map((a) => [a.state, a.since_ms]));
    if (mark !== marked) {
      marked = mark;
      readJournal().catch((error) => show(journal, h("p", { class: "wrong" }, error.message)));
    }
  }
  draw();
  return onChange(draw);
}
