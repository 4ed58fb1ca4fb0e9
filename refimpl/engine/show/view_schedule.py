"""Budgets as columns, memory below them, and requests as rows."""

SCRIPT = r"""
const LEFT = 124, TOP = 14, TALL = 170, MEMORY = 46, ROW = 30;
const most = Math.max(1, ...steps.map(step => step.shares.reduce((n, s) => n + s.n, 0)));
const ceiling = header.budget > 2 * most ? most : header.budget;  // a budget far off is not drawn
let wide = 30;
const column = s => LEFT + wide * s, level = n => TOP + TALL - TALL * n / ceiling;
const line_of = i => TOP + TALL + MEMORY + 78 + ROW * i;

function draw(k) {
  wide = Math.max(26, Math.min(46, (stage.clientWidth - LEFT - 30) / steps.length));
  const ids = Object.keys(colours), right = column(steps.length), foot = line_of(ids.length);
  const names = ids.map((id, i) => `<rect x="4" y="${line_of(i) - 5}" width="10" height="10" rx="3"
    fill="${colours[id]}"/><text x="20" y="${line_of(i) + 4.5}" font-size="13">${text(id)}</text>`);
  stage.innerHTML = `<div style="overflow-x:auto"><svg width="${right + 20}" height="${foot}">
    <rect x="${column(k) + 1}" y="0" width="${wide - 2}" height="${foot - 12}" rx="7"
      fill="#efeae0"/>${names.join("")}
    ${steps.map((step, s) => `<g opacity="${s > k ? .22 : 1}">${budget_column(step, s)}
      ${memory_column(step, s)}${ids.map((id, i) => request_cell(step, s, id, i)).join("")}
      </g>`).join("")}
    <path d="M${LEFT} ${TOP}H${right}" stroke="${INK}" stroke-dasharray="5 4" opacity=".55"/>
    <text x="4" y="${TOP + 4}" font-size="12">${ceiling} tokens</text>
    <text class="soft" x="4" y="${TOP + 20}" font-size="11">${
      ceiling < header.budget ? `of a budget of ${header.budget}` : "the budget"}</text>
    <path d="M${LEFT} ${level(0)}H${right}" stroke="${PALE}"/>
    <text x="4" y="${TOP + TALL + 46}" font-size="12">memory</text>
    <text class="soft" x="4" y="${TOP + TALL + 62}" font-size="11">${header.n_blocks} blocks</text>
    </svg></div>
    <p class="key"><b>number</b> tokens computed in that step &ensp; <b>pale</b> one token, from
    the answer &ensp; <b>○</b> waits &ensp; <b style="color:#c8553d">✕</b> gave way &ensp;
    <b>bar at the right</b> has ended &ensp; <b style="color:#b98316">memory in use</b>,
    <b style="color:#a39a88">cached</b>, free</p>`;
}

function budget_column(step, s) {
  let n = 0;
  const bars = step.shares.map(share => {
    const top = level(n += share.n), tall = Math.max(1, level(n - share.n) - top - 1.6);
    return `<rect x="${column(s) + 4}" y="${top + .8}" width="${wide - 8}" height="${tall}" rx="3"
      fill="${colours[share.id]}"/>`;
  });
  return `${bars.join("")}<text class="soft" x="${column(s) + wide / 2}" y="${TOP + TALL + 17}"
    text-anchor="middle" font-size="11">${s}</text>`;
}

function memory_column(step, s) {
  const count = state => step.blocks.filter(b => b[0] === state).length;
  const used = MEMORY * count("used") / header.n_blocks;
  const cached = MEMORY * count("cached") / header.n_blocks, foot = TOP + TALL + 30 + MEMORY;
  const bar = (y, tall, fill) => `<rect x="${column(s) + 1}" y="${y}" width="${wide - 2}"
    height="${tall}" fill="${fill}"/>`;
  return bar(foot - MEMORY, MEMORY, "#f1ece2") + bar(foot - used, used, "#e3b04b")
    + bar(foot - used - cached, cached, PALE);
}

function request_cell(step, s, id, i) {
  const share = step.shares.find(one => one.id === id);
  const stands = step.requests.find(r => r.id === id);
  const x = column(s) + wide / 2, y = line_of(i), at = `x="${x}" y="${y + 4.5}"`;
  const ended = step.news.some(n => n.id === id && n.finish) ? `<path d="M${column(s) + wide - 2}
    ${y - 11}v22" stroke="${colours[id]}" stroke-width="3"/>` : "";
  if (share) return `<rect x="${column(s) + 3}" y="${y - 11}" width="${wide - 6}" height="22" rx="6"
    fill="${colours[id]}" opacity="${share.n > 1 ? 1 : .28}"/>
    <text class="${share.n > 1 ? "count" : "one"}" ${at}>${share.n}</text>${ended}`;
  if (step.preempted.includes(id)) return `<text class="cross" ${at}>✕</text>`;
  if (stands && stands.status !== "running") return `<circle cx="${x}" cy="${y}" r="3.4"
    fill="none" stroke="${colours[id]}" stroke-width="1.5"/>`;
  return ended;
}
"""
