"""The look of a world's page: one style sheet, for light and dark."""

from typing import Final

STYLE: Final = """
:root {
  color-scheme: light dark;
  --ground: #fbfbfa; --ink: #1d1f24; --quiet: #656b76; --line: #d9dbe0; --faint: #ecedf0;
  --up: #dfe3e8; --primary: #1d5fa8; --on-primary: #ffffff; --replica: #b9d2ec;
  --on-replica: #17324f; --paused: #f1d38a; --on-paused: #4a3500; --down: #f6d5cf;
  --on-down: #7c1f10; --fault: #c2361f22; --flag: #a3402e; --rule: #c2361f; --good: #1c7a3f;
  --vote: #6d4bb3; --order: #1d5fa8; --hello: #7d9a4d; --routine: #b9bec7;
  --agreed: #b06a00; --switched: #1c7a3f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #15171b; --ink: #e6e8ec; --quiet: #9aa1ad; --line: #343942; --faint: #23272e;
    --up: #2b3038; --primary: #5a9be0; --on-primary: #0c1724; --replica: #2b4661;
    --on-replica: #d3e4f6; --paused: #6b5310; --on-paused: #ffe9b0; --down: #55251d;
    --on-down: #ffc9bd; --fault: #ff7b6226; --flag: #ff9d8a; --rule: #ff7b62; --good: #5cc983;
    --vote: #b79cf2; --order: #7db4ee; --hello: #a5c46f; --routine: #464d58;
    --agreed: #f0a640; --switched: #5cc983;
  }
}
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 24px; font-weight: 600; margin: 0 0 4px; }
h2 { font-size: 17px; font-weight: 600; margin: 32px 0 8px; }
p { margin: 6px 0; } .quiet { color: var(--quiet); }
.verdict { font-size: 17px; font-weight: 600; } .good { color: var(--good); }
.bad { color: var(--rule); }
figure { margin: 0; overflow-x: auto; } figure svg { min-width: 860px; width: 100%; }
details { border-top: 1px solid var(--line); padding: 10px 0; margin-top: 24px; }
summary { cursor: pointer; font-weight: 600; }
ol.story { list-style: none; padding: 0; margin: 0; font-variant-numeric: tabular-nums; }
ol.story li { display: grid; grid-template-columns: 90px 1fr; gap: 12px; padding: 2px 0;
  border-bottom: 1px solid var(--faint); } ol.story .time { text-align: right;
  color: var(--quiet); } ol.story .who { color: var(--quiet); margin-right: 8px; }
ol.story .fault-line { color: var(--flag); font-weight: 600; }
ol.story .rule-line { color: var(--rule); font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 3px 14px 3px 0; text-align: left; border-bottom: 1px solid var(--faint); }
th.number, td.number { text-align: right; } thead th { color: var(--quiet); font-weight: 500;
  border-color: var(--line); white-space: nowrap; }
.legend { color: var(--quiet); font-size: 13px; } .legend span { margin-right: 16px;
  white-space: nowrap; } svg.key { width: 14px; height: 14px; vertical-align: -2px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg .middle { text-anchor: middle; } svg .end { text-anchor: end; }
svg .tick, svg .hint { fill: var(--quiet); font-size: 11px; }
svg .hint { paint-order: stroke; stroke: var(--ground); stroke-width: 3px; }
svg .label { font-size: 12px; } svg .flag { fill: var(--flag); font-weight: 700; }
svg .broken { fill: var(--rule); font-weight: 700; font-size: 13px; }
.grid { stroke: var(--faint); } .fault { fill: var(--fault); }
.state { stroke: var(--ground); stroke-width: 1; } .state.up { fill: var(--up); }
.state.primary { fill: var(--primary); } .in.primary { fill: var(--on-primary); }
.state.replica { fill: var(--replica); } .in.replica { fill: var(--on-replica); }
.state.paused { fill: var(--paused); } .in.paused { fill: var(--on-paused); }
.state.down { fill: var(--down); } .in.down { fill: var(--on-down); }
svg .in { font-size: 11px; }
.rule { stroke: var(--rule); stroke-width: 2; }
.arrow { stroke-width: 1.2; } .arrow.vote { stroke: var(--vote); stroke-width: 1.6; }
.arrow.order { stroke: var(--order); stroke-width: 2; } .arrow.hello { stroke: var(--hello);
  opacity: 0.55; } .arrow.routine { stroke: var(--routine); opacity: 0.35; stroke-width: 0.8; }
.arrow.lost { stroke-dasharray: 3 3; } .tip { fill: context-stroke; }
.notice { stroke: var(--ground); stroke-width: 1; } .notice.other { fill: var(--quiet);
  stroke: none; } .notice.down { fill: var(--rule); } .notice.agreed { fill: var(--agreed); }
.notice.vote { fill: var(--vote); } .notice.elected { fill: var(--vote); }
.notice.promoted { fill: var(--order); } .notice.switched { fill: var(--switched); }
"""
