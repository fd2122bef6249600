"""The look of a drill's page: one style sheet, for light and dark."""

from typing import Final

STYLE: Final = """
:root {
  color-scheme: light dark;
  --ground: #fbfbfa; --ink: #1d1f24; --quiet: #656b76; --line: #d9dbe0; --faint: #ecedf0;
  --writes: #2f6fb5; --lost: #c2361f; --primary: #1d5fa8; --on-primary: #ffffff;
  --replica: #b9d2ec; --on-replica: #17324f; --joining: #f1d38a; --on-joining: #4a3500;
  --down: #f6d5cf; --on-down: #7c1f10; --phase: #56789b; --stall: #c2361f; --good: #1c7a3f;
  --agreed: #b06a00; --elected: #6d4bb3; --switched: #1c7a3f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #15171b; --ink: #e6e8ec; --quiet: #9aa1ad; --line: #343942; --faint: #23272e;
    --writes: #6aa5e6; --lost: #ff7b62; --primary: #5a9be0; --on-primary: #0c1724;
    --replica: #2b4661; --on-replica: #d3e4f6; --joining: #6b5310; --on-joining: #ffe9b0;
    --down: #55251d; --on-down: #ffc9bd; --phase: #7f9fc2; --stall: #ff7b62; --good: #5cc983;
    --agreed: #f0a640; --elected: #b79cf2; --switched: #5cc983;
  }
}
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 24px; font-weight: 600; margin: 0 0 4px; } h1 em { font-style: normal; }
h2 { font-size: 17px; font-weight: 600; margin: 32px 0 8px; }
p { margin: 6px 0; } .quiet { color: var(--quiet); }
.verdict { font-size: 17px; font-weight: 600; } .good { color: var(--good); }
.bad { color: var(--lost); }
figure { margin: 0; overflow-x: auto; } figure svg { min-width: 760px; width: 100%; }
details { border-top: 1px solid var(--line); padding: 10px 0; }
summary { cursor: pointer; font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 3px 14px 3px 0; text-align: right; border-bottom: 1px solid var(--faint); }
thead th { color: var(--quiet); font-weight: 500; border-color: var(--line); white-space: nowrap; }
th[scope=row] { text-align: left; font-weight: 400; } th.time { text-align: right; }
td.text, th.text { text-align: left; white-space: nowrap; }
thead th:nth-last-child(-n+2) { text-align: left; }
.legend { color: var(--quiet); font-size: 13px; } .legend span { margin-right: 16px;
  white-space: nowrap; } svg.key { width: 14px; height: 14px; vertical-align: -2px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg .middle { text-anchor: middle; } svg .end { text-anchor: end; }
svg .tick, svg .hint { fill: var(--quiet); font-size: 11px; } svg .label { font-size: 11.5px; }
svg .step { font-size: 11.5px; }
.grid { stroke: var(--faint); } .base { stroke: var(--line); }
.action { stroke: var(--ink); stroke-dasharray: 3 3; }
.writes { fill: var(--writes); } .lost { fill: var(--lost); }
.role { stroke: var(--ground); stroke-width: 1; }
.role.primary { fill: var(--primary); } .in.primary { fill: var(--on-primary); }
.role.replica { fill: var(--replica); } .in.replica { fill: var(--on-replica); }
.role.copying, .role.unlinked { fill: var(--joining); }
.in.copying, .in.unlinked { fill: var(--on-joining); }
.role.down, .role.silent { fill: var(--down); } .in.down, .in.silent { fill: var(--on-down); }
.phase { fill: var(--phase); } .phase.stall { fill: var(--stall); }
.notice { stroke: var(--ground); stroke-width: 1; } .notice.other { fill: var(--quiet);
  stroke: none; } .notice.down { fill: var(--lost); } .notice.agreed { fill: var(--agreed); }
.notice.elected { fill: var(--elected); } .notice.promoted { fill: var(--primary); }
.notice.switched { fill: var(--switched); }
"""
