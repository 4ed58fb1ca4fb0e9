"""The radix tree from left to right, with what running requests hold beyond it."""

SCRIPT = r"""
function draw(k) {
  const step = steps[k], before = new Map((k ? steps[k - 1].tree : []).map(n => [n.id, n]));
  const nodes = new Map(step.tree.map(n => [n.id, { ...n, kids: [], says: say(n.tokens) }]));
  const gone = [...before.values()].filter(n => !nodes.has(n.id));
  const root = { id: 0, kids: [], x: 0, w: 46 };
  for (const n of nodes.values()) (nodes.get(n.parent) ?? root).kids.push(n);
  for (const n of nodes.values()) dress(n, before);
  for (const r of step.requests) hang_own(r, step, nodes, root);
  for (const n of [root, ...nodes.values()]) n.kids.sort((a, b) => a.id - b.id);
  const [width, height] = lay_out(root);
  const parts = [];
  const paint = (n, parent) => {
    if (parent) parts.push(tree_node(n, parent));
    n.kids.forEach(kid => paint(kid, n));
  };
  paint(root, null);
  const ghosts = gone.map(n => `<span class="ghost">${text(say(n.tokens))}</span>`).join("");
  stage.innerHTML = `${pool_bar(step)}<p class="gone">${ghosts && "evicted: " + ghosts}</p>
    <div style="overflow-x:auto"><svg viewBox="-2 -2 ${width} ${height + 6}"
      style="width:${width}px;max-width:100%;min-width:${.6 * width}px">
    <circle cx="30" cy="${root.y + 17}" r="7" fill="${INK}"/>
    <path d="M37 ${root.y + 17}h9" stroke="${PALE}" stroke-width="1.6"/>
    ${parts.join("")}</svg></div>
    <p class="key"><b style="color:#c28a12">locked</b> running requests read it &ensp;
    <b style="color:#2f6fd0">used now</b> found or touched in this step &ensp;
    <b style="color:#2c8c6a">new</b> computed in this step &ensp;
    <b style="color:#8b57c9">cut</b> two sequences part inside what was one node &ensp;
    <b>dashed</b> where a running request stands, with tokens of its own that the
    tree gets when it ends</p>`;
}

function dress(n, before) {
  const old = before.get(n.id), tail = [...before.values()].find(o => n.kids.some(kid =>
    kid.id === o.id && kid.tokens.length < o.tokens.length));
  const fill = n.locks ? "#fff0d2" : "#fff";
  let what;
  [n.fill, n.stroke, what] = !old && tail ? [fill, "#8b57c9", "cut"]
    : !old ? ["#e6f4e3", "#2c8c6a", "new"]
    : old.last_used !== n.last_used ? [fill, "#2f6fd0", "used now"]
    : [fill, n.locks ? "#c28a12" : PALE, ""];
  const lock = n.locks ? `locked by ${n.locks}` : "";
  n.caption = [plural(n.pages.length, "page"), lock, what].filter(Boolean).join(" · ");
}

// What a request has computed and the tree does not have yet hangs below the end of its lock.
function hang_own(r, step, nodes, root) {
  if (!r.table.length) return;
  const at = new Map([...nodes.values()].flatMap(n => n.pages.map(page => [page, n])));
  const n_shared = r.table.filter(page => at.has(page)).length;
  const own = computed(r, step).slice(n_shared * header.block_size);
  const parent = at.get(r.table[n_shared - 1]) ?? root;
  parent.kids.push({ id: Infinity, kids: [], says: say(own), fill: "none", stroke: colours[r.id],
    dash: "5 4", chip: r.id,
    caption: own.length ? `${r.id} · ${plural(own.length, "token")} of its own` : r.id });
}

function lay_out(root) {
  let row = 0, right = 0;
  const place = n => {
    for (const kid of n.kids) {
      kid.x = n.x + n.w + 40;
      kid.w = Math.max(22 + 7.4 * kid.says.length, 5.9 * kid.caption.length - 26, 46);
      place(kid);
    }
    n.y = n.kids.length ? (n.kids[0].y + n.kids.at(-1).y) / 2 : 66 * row++;
    right = Math.max(right, n.x + n.w);
  };
  place(root);
  return [Math.max(900, right + 20), Math.max(80, 66 * row + 10)];
}

function tree_node(n, parent) {
  const x1 = parent.x + parent.w, y1 = parent.y + 17, y2 = n.y + 17, m = (x1 + n.x) / 2;
  const path = n.chip ? colours[n.chip] : n.locks ? "#c28a12" : PALE;
  return `<path d="M${x1} ${y1} C${m} ${y1} ${m} ${y2} ${n.x} ${y2}" fill="none"
    stroke="${path}" stroke-width="${n.locks ? 2.4 : 1.6}" stroke-dasharray="${n.dash ?? ""}"/>
    <rect x="${n.x}" y="${n.y}" width="${n.w}" height="34" rx="8" fill="${n.fill}"
      stroke="${n.stroke}" stroke-width="1.8" stroke-dasharray="${n.dash ?? ""}"/>
    <text class="mono" font-size="12.3" x="${n.x + 11}" y="${n.y + 21.5}">${text(n.says)}</text>
    <text class="soft" font-size="11" x="${n.x + 2}" y="${n.y + 48}">${text(n.caption)}</text>`;
}

function pool_bar(step) {
  const kinds = [["used", "#e3b04b", "in use"], ["cached", "#d8d1c3", "cached"],
    ["free", "#f3efe6", "free"]];
  return `<div class="bar">${kinds.map(([state, fill, says]) => {
    const n = step.blocks.filter(b => b[0] === state).length;
    return n ? `<div style="flex:${n} 0 64px;background:${fill}">${n} ${says}</div>` : "";
  }).join("")}</div>`;
}
"""
