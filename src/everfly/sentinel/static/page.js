
"use strict";
const POLL_MS = 1000, SHOWN_MAX = 200, ROWS_MAX = 12;
const STATES = {
  ok: ["good", "healthy", "All replicas follow the primary; a failover could begin at once."],
  degraded: ["warn", "degraded", "A replica is missing, down or not linked to its primary."],
  connecting: ["warn", "connecting", "There is no connection to the primary at this moment."],
  no_quorum: ["bad", "no quorum", "Too few Sentinels are up: a failover could not be agreed on."],
  suspected: ["bad", "primary suspected", "This Sentinel finds the primary down; its peers do not, yet."],
  down: ["bad", "primary down", "A quorum finds the primary down."],
  failover: ["blue", "failover", "A new primary is being made."],
};
const at = (id) => document.getElementById(id);
let chosen = decodeURIComponent(location.hash.slice(1)), last = 0, entries = [], timer = 0;
let shownGroup = null, sentinel = null;

function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
function draw(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
async function read(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(8000) });
  if (!answer.ok && answer.status !== 404) throw new Error(`HTTP ${answer.status}`);
  return answer.ok ? answer.json() : null;
}
function duration(ms) {
  if (ms === null || ms === undefined) return "-";
  if (ms < 1000) return `${ms} ms`;
  if (ms < 120000) return `${(ms / 1000).toFixed(ms < 10000 ? 1 : 0)} s`;
  return ms < 7200000 ? `${Math.round(ms / 60000)} min` : `${Math.round(ms / 3600000)} h`;
}
const cut = (text, most) => text.length > most ? text.slice(0, most - 1) + "\u2026" : text;
const count = (number) => number.toLocaleString("en");

// The picture.

function box(x, y, kind, lines, mark, markKind, title) {
  const group = draw("g", {}, draw("title", {}, title));
  group.append(draw("rect", { x, y, width: 236, height: 62, rx: 10, class: `box ${kind}` }));
  group.append(draw("text", { x: x + 12, y: y + 18, class: "kind" }, lines[0]));
  group.append(draw("text", { x: x + 12, y: y + 36, class: "bold" }, cut(lines[1], 30)));
  group.append(draw("text", { x: x + 12, y: y + 52, class: "small" }, cut(lines[2], 40)));
  if (mark) group.append(draw("text",
    { x: x + 224, y: y + 18, class: `mark ${markKind}`, "text-anchor": "end" }, mark));
  return group;
}
function instanceMark(one, isPrimary) {
  if (one.objectively_down_for_ms !== null && isPrimary) return ["down, agreed", "bad"];
  if (one.is_subjectively_down) return ["down " + duration(one.subjectively_down_for_ms), "bad"];
  if (!one.link.is_connected) return ["no link", "warn"];
  if (isPrimary) return ["up", "good"];
  if (one.flags.includes("promoted")) return ["promoted", "blue"];
  if (one.is_syncing) return ["full sync", "warn"];
  return one.is_linked_to_primary ? ["in sync", "good"] : ["unlinked", "bad"];
}
function boxKind(one, base) {
  if (one.is_subjectively_down) return "down";
  return one.link.is_connected ? base : "warn";
}
function peerMark(peer) {
  if (peer.is_subjectively_down) return ["down " + duration(peer.subjectively_down_for_ms), "bad"];
  if (!peer.link.is_connected) return ["no link", "warn"];
  return peer.says_primary_is_down ? ["says: down", "bad"] : ["up", "good"];
}
function topology(group) {
  const peers = group.peers.slice(0, ROWS_MAX), replicas = group.replicas.slice(0, ROWS_MAX);
  const rows = Math.max(1, peers.length + 1, replicas.length), step = 78;
  const height = rows * step + 8 + (Math.max(group.peers.length, group.replicas.length) > ROWS_MAX ? 20 : 0);
  const top = (number) => (rows - number) * step / 2 + 4;
  const picture = draw("svg", { viewBox: `0 0 1000 ${height}`, role: "img",
    "aria-label": `Group ${group.name}: ${group.sentinels} Sentinels watch the primary ` +
      `${group.primary.address}, which has ${group.replicas.length} replicas` });
  const middle = rows * step / 2 + 4 - 8, boxes = [];
  const primaryTop = top(1);
  const watch = (y) => picture.append(draw("path",
    { d: `M240 ${y} C 320 ${y} 300 ${middle} 380 ${middle}`, class: "watch" }));
  const all = [null, ...peers];
  all.forEach((peer, row) => {
    const y = top(all.length) + row * step;
    watch(y + 31);
    if (!peer) {
      boxes.push(box(4, y, "me", ["THIS SENTINEL", sentinel.id.slice(0, 12),
        `epoch ${sentinel.current_epoch}`], sentinel.tilt_for_ms === null ? "" : "TILT", "warn",
        `This Sentinel, ${sentinel.id}`));
      return;
    }
    const [mark, kind] = peerMark(peer);
    const vote = peer.voted_for ? `voted for ${peer.voted_for.slice(0, 8)} in ${peer.voted_in_epoch}` :
      `hello ${duration(peer.last_hello_ago_ms)} ago`;
    boxes.push(box(4, y, boxKind(peer, "peer"), ["SENTINEL " + peer.sentinel_id.slice(0, 8),
      peer.address, vote], mark, kind, `Sentinel ${peer.sentinel_id}`));
  });
  replicas.forEach((replica, row) => {
    const y = top(replicas.length) + row * step;
    const isWhole = replica.is_linked_to_primary && !replica.is_subjectively_down;
    picture.append(draw("path", { d: `M616 ${middle} C 690 ${middle} 680 ${y + 31} 760 ${y + 31}`,
      class: isWhole ? "wire" : "wire broken" }));
    const [mark, kind] = instanceMark(replica, false);
    const lag = replica.lag === null ? "" : `lag ${count(replica.lag)}, `;
    boxes.push(box(760, y, boxKind(replica, ""), [`REPLICA, ${replica.engine}`, replica.address,
      `${lag}priority ${replica.priority}, pong ${duration(replica.link.last_ok_ping_ago_ms)}`],
      mark, kind, replica.flags.join(", ")));
  });
  const [mark, kind] = instanceMark(group.primary, true);
  const offset = group.primary.offset === null ? "" : `offset ${count(group.primary.offset)}, `;
  boxes.push(box(380, primaryTop, boxKind(group.primary, "primary"),
    [`PRIMARY, ${group.primary.engine}`, group.primary.address,
      `${offset}pong ${duration(group.primary.link.last_ok_ping_ago_ms)}`], mark, kind,
    group.primary.flags.join(", ")));
  picture.append(...boxes);
  const hidden = (list, x) => list.length > ROWS_MAX && picture.append(draw("text",
    { x, y: height - 6, class: "small" }, `and ${list.length - ROWS_MAX} more`));
  hidden(group.peers, 12);
  hidden(group.replicas, 768);
  return picture;
}
function numbers(group) {
  const settings = group.settings;
  return [
    ["Sentinels up", `${group.usable_sentinels} of ${group.sentinels}`],
    ["Quorum", settings.quorum], ["Replicas in sync", `${group.good_replicas} of ${group.replicas.length}`],
    ["Configuration epoch", group.config_epoch], ["Down after", duration(settings.down_after_ms)],
    ["Failover timeout", duration(settings.failover_timeout_ms)],
    ["Clients go to", group.current_address],
  ].flatMap(([name, value]) => [make("div", {}, make("dt", {}, name), make("dd", {}, String(value)))]);
}
function showGroup(group) {
  const [kind, word, verdict] = STATES[group.state] || ["", group.state, ""];
  at("now").textContent = group.name;
  at("state").className = `pill ${kind}`;
  at("state").textContent = group.failover_state ? `${word}: ${group.failover_state}` : word;
  at("verdict").textContent = group.replicas.length || group.state !== "degraded" ? verdict :
    "No replica is known: there is nobody to fail over to.";
  at("topology").replaceChildren(topology(group));
  at("numbers").replaceChildren(...numbers(group));
}
function showGroups(groups) {
  if (groups.length < 2) { at("groups").replaceChildren(); return; }
  const worst = (one) => ["ok", "degraded"].indexOf(one.state);
  const sorted = [...groups].sort((a, b) => worst(a) < 0 ? (worst(b) < 0 ? 0 : -1) : worst(b) < 0 ? 1 : 0);
  at("groups").replaceChildren(...sorted.map((one) => {
    const [kind, word] = STATES[one.state] || ["", one.state];
    const button = make("button", { type: "button", class: kind, title: word,
      "aria-current": String(one.name === chosen) }, one.name);
    button.addEventListener("click", () => { location.hash = encodeURIComponent(one.name); });
    return button;
  }));
}

// The past.

function eventKind(entry) {
  const event = entry.event;
  if (!event) return "blue";
  if (/^\+(odown|sdown|tilt)$|abort|-script|timeout/.test(event)) return "bad";
  if (/^-(odown|sdown|tilt)$|failover-end$|reconf-done|promoted/.test(event)) return "good";
  return /switch-master|elected|selected|try-failover/.test(event) ? "blue" : "";
}
function factKind(fact) {
  return / rejected: /.test(fact) ? "rejected" : / chosen: /.test(fact) ? "chosen" : "";
}
function row(entry, index, all) {
  const moment = new Date(entry.time);
  const clock = moment.toLocaleTimeString("en-GB") + "." + String(moment.getMilliseconds()).padStart(3, "0");
  const what = make("div", { class: "what" });
  what.append(make("span", { class: `pill ${eventKind(entry)}` }, entry.event || "why"));
  // Of whom it is said stands above already.
  const [text, owner] = entry.text.split(/(?= @ )/, 2);
  what.append(make("span", { class: "text" }, text));
  if (owner) what.append(make("span", { class: "owner" }, owner));
  if (entry.facts.length) what.append(make("ul", {},
    ...entry.facts.map((fact) => make("li", { class: factKind(fact) }, fact))));
  const day = moment.toLocaleDateString("en-CA");
  const isNew = !index || new Date(all[index - 1].time).toLocaleDateString("en-CA") !== day;
  return make("li", { class: entry.kind },
    make("time", { datetime: entry.time, title: entry.time }, clock,
      ...(isNew ? [make("span", { class: "day" }, day)] : [])), what);
}
function showTimeline() {
  const only = at("decisions").checked;
  const shown = entries.filter((entry) => !only || entry.facts.length).slice(-SHOWN_MAX).reverse();
  at("timeline").replaceChildren(...shown.map(row));
  at("empty").hidden = shown.length > 0;
}
async function followTimeline(path) {
  const told = await read(`${path}&after=${last}&limit=${SHOWN_MAX}`);
  if (!told) return;
  if (told.last_number < last) { last = 0; entries = []; showTimeline(); return; }
  if (told.entries.length) {
    entries = [...entries, ...told.entries].slice(-2 * SHOWN_MAX);
    showTimeline();
  }
  last = told.last_number;
}

// Life.

async function look() {
  const told = await read("api/groups");
  sentinel = told.sentinel;
  at("about").textContent = `${sentinel.id}, version ${sentinel.version}, epoch ${sentinel.current_epoch}`;
  at("tilt").hidden = sentinel.tilt_for_ms === null;
  const found = told.groups.find((one) => one.name === chosen) || told.groups[0];
  chosen = found ? found.name : "";
  showGroups(told.groups);
  if (!found) {
    shownGroup = null;
    at("now").textContent = "No group";
    at("state").textContent = "";
    at("verdict").textContent = "This Sentinel watches no group.";
    at("topology").replaceChildren();
    at("numbers").replaceChildren();
    return;
  }
  if (shownGroup !== found.name) { shownGroup = found.name; last = 0; entries = []; showTimeline(); }
  const group = await read(found.href);
  if (group) showGroup(group);
  await followTimeline(found.history_href);
}
async function live() {
  clearTimeout(timer);
  try {
    if (!document.hidden) {
      await look();
      at("live").textContent = "live";
      at("live").className = "pill good";
    }
  } catch (error) {
    at("live").textContent = "not reachable: " + error.message;
    at("live").className = "pill bad";
  }
  clearTimeout(timer);
  timer = setTimeout(live, POLL_MS);
}
addEventListener("hashchange", () => { chosen = decodeURIComponent(location.hash.slice(1)); live(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) live(); });
at("decisions").addEventListener("change", showTimeline);
live();
