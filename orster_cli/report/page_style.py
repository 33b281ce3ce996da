"""The style sheet of a report's page. Light and dark, from 400 to 1600 pixels wide."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --raised: #f6f7f9; --ink: #1b1e23; --soft: #5a626d; --rule: #dfe3e8;
  --accent: #1d5fbf; --band: #1d5fbf26; --dot: #1b1e2399; --faint: #1b1e2338;
  --warn: #a65b00; --warn-paper: #fff6e6;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --raised: #1c2026; --ink: #e4e7eb; --soft: #9aa4b0; --rule: #2d333b;
    --accent: #7db1ff; --band: #7db1ff30; --dot: #e4e7eb99; --faint: #e4e7eb38;
    --warn: #f0b35a; --warn-paper: #2a2115;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
main { max-width: 1180px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 18px; margin: 56px 0 12px; }
h3 { font-size: 15px; margin: 28px 0 4px; }
p { margin: 0 0 12px; max-width: 76ch; }
.soft, small { color: var(--soft); }
small { font-size: 13px; }
code { font: 13px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.settings { display: flex; flex-wrap: wrap; gap: 2px 20px; margin: 14px 0 0; padding: 0; }
.settings div { display: flex; gap: 6px; }
.settings dt { color: var(--soft); }
.settings dd { margin: 0; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 7px 16px 7px 0; text-align: right; vertical-align: top; }
th { font-weight: 500; color: var(--soft); font-size: 13px; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th:last-child, td:last-child { padding-right: 0; }
thead th { border-bottom: 1px solid var(--rule); vertical-align: bottom; }
tbody tr + tr > * { border-top: 1px solid var(--rule); }
tbody th { color: var(--ink); font-size: inherit; text-align: left; }
td { white-space: nowrap; }
td.text, th.text { text-align: left; white-space: normal; }
.scroll { overflow-x: auto; }
.scroll th:first-child {
  position: sticky; left: 0; background: var(--paper); min-width: 130px; max-width: 300px;
  white-space: normal;
}
.summary td, .summary tbody th { vertical-align: middle; }
.summary .big { font-size: 18px; font-weight: 600; }
.summary .plot-cell { width: 46%; padding: 2px 0 2px 12px; }
.plot {
  display: block; width: 100%; height: auto; max-width: 520px; margin-left: auto;
  overflow: visible;
}
.plot text { fill: var(--soft); font-size: 12px; }
.plot .axis, .plot .grid { stroke: var(--rule); fill: none; }
.plot .interval { fill: var(--band); }
.plot .dot { fill: var(--dot); stroke: var(--paper); stroke-width: 1; }
.plot .dot:hover { fill: var(--accent); }
.plot .mean { stroke: var(--accent); stroke-width: 2.5; fill: none; }
.plot .line {
  stroke: var(--faint); stroke-width: 1.5; fill: none; stroke-linecap: round;
  stroke-linejoin: round;
}
.plot .line:hover { stroke: var(--ink); stroke-width: 2.5; }
.plot .mean-line, .plot .mean-line:hover { stroke: var(--accent); stroke-width: 2.5; }
.plots {
  display: grid; gap: 20px 40px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr));
}
.plots figure, .clips figure { margin: 0; }
.plots .plot { margin: 0; max-width: 560px; }
.plots figcaption { font-weight: 500; font-size: 14px; margin-bottom: 4px; }
.sortable button {
  all: unset; cursor: pointer; font: inherit; color: inherit;
}
.sortable button:hover { color: var(--ink); }
.sortable button:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
.sortable [aria-sort] { color: var(--ink); }
.sortable [aria-sort=ascending] button::after { content: " \\25B4"; }
.sortable [aria-sort=descending] button::after { content: " \\25BE"; }
.player {
  position: sticky; top: 0; z-index: 2; display: flex; align-items: center; gap: 14px;
  padding: 10px 0; margin-bottom: 8px; background: var(--paper);
  border-bottom: 1px solid var(--rule);
}
.player[hidden] { display: none; }
.player button {
  font: inherit; width: 76px; padding: 4px 0; color: var(--ink); cursor: pointer;
  background: var(--raised); border: 1px solid var(--rule); border-radius: 6px;
}
.player input { flex: 1; max-width: 420px; accent-color: var(--accent); }
.clips {
  display: grid; gap: 28px 32px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr));
}
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 6px; }
.pair video {
  display: block; width: 100%; background: var(--raised);
  border: 1px solid var(--rule); border-radius: 4px;
}
.pair small { display: block; margin-top: 2px; }
.clips figcaption { margin-top: 4px; }
.clips .name { font-weight: 600; }
.nowrap { white-space: nowrap; }
.warning {
  max-width: 84ch; padding: 10px 14px; margin: 0 0 20px; border-left: 3px solid var(--warn);
  background: var(--warn-paper); border-radius: 0 4px 4px 0;
}
.published td, .published thead th { padding-left: 8px; }
.published th:first-child { padding-left: 0; }
.published .ours > * { font-weight: 600; color: var(--accent); }
.published .group th { color: var(--soft); font-size: 13px; padding-top: 18px; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 8px 24px; margin: 0; }
.facts dt { font-weight: 500; }
.facts dd { margin: 0; max-width: 84ch; }
@media (max-width: 760px) {
  main { padding: 24px 16px 60px; }
  h2 { margin-top: 44px; }
  .published tbody small { display: block; }
  .facts { grid-template-columns: 1fr; gap: 0; }
  .facts dd { margin-bottom: 14px; }
  .summary thead { display: none; }
  .summary tbody tr {
    display: grid; grid-template-columns: 1fr auto; padding: 10px 0;
    border-top: 1px solid var(--rule);
  }
  .summary tbody tr > * { border: 0; padding: 0; }
  .summary tbody td, .summary tbody .plot-cell { width: auto; }
  .summary td[data-what]::before { content: attr(data-what) " "; color: var(--soft); font-size: 13px; }
  .summary td.interval-cell { text-align: left; }
  .summary .plot-cell { grid-column: 1 / -1; }
  .summary .plot { margin: 6px 0 0; }
}
@media print {
  .player { display: none; }
  main { max-width: none; padding: 0; }
}
"""
