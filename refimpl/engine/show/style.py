"""How a page looks."""

STYLE = """
:root {
  --ink: #22201c; --soft: #6d675d; --line: #d9d3c7; --paper: #fbf9f5; --card: #ffffff;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 28px 32px 60px; max-width: 1280px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { margin: 0 0 2px; font-size: 26px; letter-spacing: -0.01em; }
header p { margin: 0 0 16px; max-width: 74ch; color: var(--soft); }
nav { display: flex; gap: 8px; align-items: center; }
nav input { flex: 1; max-width: 640px; accent-color: var(--ink); }
button { font: inherit; font-size: 13px; padding: 4px 12px; border: 1px solid var(--line);
  border-radius: 7px; background: var(--card); cursor: pointer; }
button:hover { border-color: var(--ink); }
output { font-variant-numeric: tabular-nums; color: var(--soft); min-width: 9ch; }
#story { min-height: 4.6em; margin: 12px 0 8px; padding: 0; list-style: none; font-size: 14px; }
#story li { display: inline-block; margin: 0 8px 6px 0; padding: 2px 10px; border-radius: 20px;
  background: #f0ece3; }
#story b { font-weight: 600; }
#story li.warn { background: #fbdcd3; }
#story li.good { background: #dff0dc; }
#story li.end { background: #e3e6ea; }
.chip { display: inline-block; width: 10px; height: 10px; margin-right: 6px; border-radius: 3px; }
main { position: relative; }
svg text { font-family: system-ui, sans-serif; fill: var(--ink); }
svg .mono { font-family: var(--mono); }

.split { display: grid; grid-template-columns: minmax(300px, 2fr) 3fr; gap: 84px; }
.split h2 { margin: 0 0 8px; font-size: 13px; font-weight: 600; color: var(--soft);
  text-transform: uppercase; letter-spacing: .06em; }
.request { margin-bottom: 14px; padding: 8px 10px; border: 1px solid var(--line);
  border-radius: 10px; background: var(--card); }
.request.waiting, .request.swapped { border-style: dashed; background: var(--paper); }
.request .name { display: flex; justify-content: space-between; font-size: 14px; }
.request .name span:last-child { color: var(--soft); font-size: 13px; }
.table { display: flex; flex-wrap: wrap; gap: 4px; margin-top: 6px; }
.table i { width: 30px; padding: 2px 0; border: 1px solid; border-radius: 5px; text-align: center;
  font: 12px var(--mono); }
.pool { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 30px 12px;
  padding-top: 26px; }
.said { margin: 6px 0 0; font-size: 13px; line-height: 1.4; }
.said span { color: var(--soft); }
.said u { text-decoration-color: var(--line); text-underline-offset: 3px; }
.block { position: relative; padding: 6px 8px 8px 14px; border: 1px solid var(--line);
  border-radius: 9px; background: var(--card); overflow: hidden; transition: background .2s; }
.block .top { display: flex; justify-content: space-between; font: 12px var(--mono);
  color: var(--soft); }
.block .cells { display: grid; grid-template-columns: 1fr 1fr; gap: 3px; margin-top: 4px; }
.block .cells span { height: 19px; padding: 0 4px; border-radius: 4px; background: #f3efe7;
  font: 11.5px/19px var(--mono); white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.block .cells span.empty { background: none; box-shadow: inset 0 0 0 1px #eae5da; }
.block .stripe { position: absolute; left: 0; width: 6px; }
.block.free { border-style: dashed; background: var(--paper); }
.block.free .cells span { color: #b9b2a5; background: none; box-shadow: inset 0 0 0 1px #eae5da; }
.block.cached { background: repeating-linear-gradient(135deg, #fff 0 7px, #f4f0e6 7px 14px); }
.block.changed { box-shadow: 0 0 0 2px var(--ink); }
#arrows { position: absolute; inset: 0; width: 100%; height: 100%; pointer-events: none; }
.split { position: relative; z-index: 1; }
svg .soft { fill: var(--soft); }
svg .count { fill: #fff; font-size: 11.5px; font-weight: 600; text-anchor: middle; }
svg .one { fill: var(--soft); font-size: 11.5px; text-anchor: middle; }
svg .cross { fill: #c8553d; font-size: 15px; font-weight: 700; text-anchor: middle; }
.bar { display: flex; max-width: 900px; height: 26px; border-radius: 7px; overflow: hidden;
  font-size: 13px; line-height: 26px; }
.bar div { padding-left: 9px; white-space: nowrap; overflow: hidden; }
.gone { min-height: 1.8em; margin: 8px 0 12px; font-size: 13px; }
.ghost { margin-right: 6px; padding: 1px 8px; border: 1px dashed #c8553d; border-radius: 7px;
  color: #c8553d; font: 12px var(--mono); }
.key { margin: 20px 0 0; color: var(--soft); font-size: 13px; }
.key b { font-weight: 600; color: var(--ink); }
"""
