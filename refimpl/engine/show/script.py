"""What every page does: reads its data, tells in words what happened, and moves through the steps.

A view (`view_blocks`, `view_radix`, `view_schedule`) stands between the two parts and defines
`draw(k)`, which fills the stage with step k.
"""

HELPERS = r"""
const { header, steps } = JSON.parse(document.getElementById("data").textContent);
const PALETTE = ["#2f6fd0", "#c8553d", "#2c8c6a", "#8b57c9",
  "#2592a3", "#b84a86", "#6b8e23", "#667788"];
const PALE = "#cfc8ba", INK = "#22201c";
const stage = document.getElementById("stage"), slider = document.getElementById("slider");
const colours = {};
for (const step of steps)
  for (const { id } of [...step.requests, ...step.shares])
    colours[id] ??= PALETTE[Object.keys(colours).length % PALETTE.length];

const word = t => t === null || t === undefined ? ""
  : (header.words[t] ?? " " + t).replace(/^<\|?(.+?)\|?>$/, "‹$1›");
const say = tokens => tokens.map(word).join("").trim();
const text = s => s.replace(/[&<>"]/g, c => "&#" + c.charCodeAt(0) + ";");
const chip = id => `<span class="chip" style="background:${colours[id]}"></span>`;
const name = id => `${chip(id)}<b>${text(id)}</b>`;
const plural = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

// The tokens a request has computed, read from the blocks of its table.
const computed = (r, step) =>
  r.table.flatMap(b => step.blocks[b][2]).slice(0, r.n_computed).filter(t => t !== null);

function story(k) {
  const step = steps[k], before = k ? steps[k - 1].requests : [];
  const known = new Map(before.map(r => [r.id, r])), lines = [];
  const goes_on = s => s.n === 1 && s.draws.length < 2 && known.get(s.id)?.status === "running";
  const crowd = step.shares.filter(goes_on), is_crowd = crowd.length > 6;
  if (is_crowd) lines.push(["", `${crowd.map(s => chip(s.id)).join("")}
    ${crowd.length} requests compute 1 token each`]);
  for (const share of step.shares) {
    if (is_crowd && goes_on(share)) continue;
    const was = known.get(share.id), came = !was || was.status !== "running";
    const hit = came && share.start ? `, finds ${share.start} in the cache` : "";
    const drew = share.draws.length > 1 ? `, draws ${share.draws.length} samples` : "";
    lines.push([came ? "good" : "", `${name(share.id)} ${came ? "starts: " : ""}`
      + `computes ${plural(share.n, "token")}${hit}${drew}`]);
  }
  for (const [kind, src, dst, id] of step.moves)
    lines.push(["", `${name(id)} block ${src} ${{ Copy: "copied to", SwapOut: "saved to host block",
      SwapIn: "brought back to" }[kind]} ${dst}`]);
  for (const id of step.preempted) lines.push(["warn", `${name(id)} gives way`]);
  for (const { id, finish } of step.news)
    if (finish) lines.push(["end", `${name(id)} ends (${finish})`]);
  for (const r of step.requests)
    if (r.status === "waiting" && !step.preempted.includes(r.id))
      lines.push(["", `${name(r.id)} waits`]);
  return lines.map(([kind, html]) => `<li class="${kind}">${html}</li>`).join("");
}
"""

SLIDER = r"""
const number = document.getElementById("number"), button = document.getElementById("play");
let timer = null;
function show(k) {
  slider.value = k;
  number.textContent = `step ${slider.value} of ${steps.length - 1}`;
  document.getElementById("story").innerHTML = story(+slider.value);
  draw(+slider.value);
}
function stop() {
  clearInterval(timer);
  timer = null;
  button.textContent = "play";
}
function play() {
  if (timer) return stop();
  button.textContent = "pause";
  if (+slider.value === steps.length - 1) show(0);
  timer = setInterval(() => { move(1); if (+slider.value === steps.length - 1) stop(); }, 1100);
}
const move = by => show(Math.min(steps.length - 1, Math.max(0, +slider.value + by)));
const KEYS = { ArrowRight: () => move(1), ArrowLeft: () => move(-1), Home: () => show(0),
  End: () => show(steps.length - 1), " ": play };
slider.max = steps.length - 1;
slider.oninput = () => { stop(); show(+slider.value); };
document.getElementById("next").onclick = () => { stop(); move(1); };
document.getElementById("back").onclick = () => { stop(); move(-1); };
button.onclick = play;
onkeydown = e => {
  if (!(e.key in KEYS)) return;
  e.preventDefault();  // or a slider in focus would move as well
  if (e.key !== " ") stop();
  KEYS[e.key]();
};
onresize = () => show(+slider.value);
show(+(location.hash.slice(1) || 0));
"""
