"""How the report looks: on a screen by day and by night, on a phone, on paper."""

from __future__ import annotations

CSS = """
:root{--bg:#fbfbfd;--card:#fff;--ink:#1c2033;--soft:#5d6680;--line:#dfe3ee;--hair:#eceff6;--accent:#3457d5;
--good:#0d8a6a;--good-bg:#e3f5ef;--warn:#a86400;--warn-bg:#fdf1dc;--bad:#c4314b;--bad-bg:#fdebee;--idle:#8a93aa;
--n0:#0b7fb3;--n1:#7d4fc4;--n2:#c25a12;--n3:#4d7d1e;--l0:#3457d5;--l1:#c25a12;--l2:#7d4fc4;--l3:#0d8a6a;
--mono:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
@media (prefers-color-scheme:dark){:root{--bg:#14161f;--card:#1b1e2b;--ink:#e3e7f4;--soft:#99a2bd;--line:#31364a;
--hair:#262a3a;--accent:#8aa8ff;--good:#5fd3b3;--good-bg:#17332f;--warn:#e6b566;--warn-bg:#372c19;--bad:#ff8599;
--bad-bg:#3d1f29;--idle:#6c7590;--n0:#6cc7f2;--n1:#c3a4fb;--n2:#ffa46b;--n3:#a9d27a;
--l0:#8aa8ff;--l1:#ffa46b;--l2:#c3a4fb;--l3:#5fd3b3}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 var(--sans);overflow-wrap:break-word}
main{max-width:1120px;margin:0 auto;padding:24px 20px 64px}
h1{font-size:26px;line-height:1.2;margin:0;font-weight:650;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:17px;margin:0 0 12px;font-weight:650}
h3{font-size:14px;margin:18px 0 6px;font-weight:600;overflow-wrap:anywhere}
p{margin:6px 0}
a{color:var(--accent)}
code,.mono{font-family:var(--mono);font-size:.92em}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px;margin:16px 0}
.top{display:flex;gap:14px;align-items:flex-start;flex-wrap:wrap}
.badge{display:inline-block;font-weight:700;font-size:14px;letter-spacing:.04em;padding:4px 12px;border-radius:8px;
border:1px solid currentColor;white-space:nowrap;margin-top:1px}
.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}.idle{color:var(--idle)}.soft{color:var(--soft)}
.badge.good{background:var(--good-bg)}.badge.bad{background:var(--bad-bg)}.badge.warn{background:var(--warn-bg)}
.facts{display:flex;flex-wrap:wrap;gap:4px 22px;margin:14px 0 0;padding:0;list-style:none;color:var(--soft);
font-size:14px}
.facts b{color:var(--ink);font-weight:600}
.again{margin:16px 0 0}
.again code,pre{display:block;background:var(--hair);border-radius:8px;padding:10px 12px;margin:4px 0 0;
white-space:pre-wrap;overflow-wrap:anywhere;font-family:var(--mono);font-size:13px;line-height:1.45;user-select:all}
pre{user-select:text;max-height:420px;overflow:auto}
.why{border-color:var(--bad);background:var(--bad-bg)}
.why ol{margin:0;padding-left:22px}.why li{margin:8px 0}
.why .where{font-weight:650}
.why pre{background:var(--card)}
.stopped{border-color:var(--warn);background:var(--warn-bg)}
.scroll{overflow-x:auto;margin:0 -4px;padding:0 4px}
table{border-collapse:collapse;width:100%;font-size:14px}
th{font-weight:500;color:var(--soft);text-align:left;white-space:nowrap;font-size:13px}
th,td{padding:6px 16px 6px 0;border-bottom:1px solid var(--hair);vertical-align:top}
tr:last-child>td{border-bottom:0}
td:last-child,th:last-child{padding-right:0}
th:empty{width:1.5em}
.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.nowrap{white-space:nowrap}.any{overflow-wrap:anywhere;min-width:11em}
.bar{display:inline-block;height:9px;border-radius:3px;background:var(--bad);vertical-align:baseline;min-width:2px}
.barcell{min-width:120px;width:40%}
.legend{display:flex;flex-wrap:wrap;gap:2px 18px;margin:4px 0 0;padding:0;list-style:none;font-size:13px;
color:var(--soft)}
.legend i{display:inline-block;width:14px;height:10px;border-radius:2px;margin-right:6px;vertical-align:-1px}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(330px,1fr));gap:8px 28px}
.chart{break-inside:avoid;min-width:0}
.chart h3{margin:10px 0 2px}
details{margin-top:12px}summary{cursor:pointer;color:var(--accent);font-size:14px}
footer{color:var(--soft);font-size:13px;text-align:center;margin-top:24px}
svg{display:block;width:100%;font-family:var(--sans);overflow:visible}
svg text{fill:var(--ink);font-size:12px}
svg .t-soft{fill:var(--soft)}svg .t-mono{font-family:var(--mono);font-size:11px}
svg .t-bold{font-weight:650}svg .t-small{font-size:11px}
svg .lan{stroke:var(--idle);stroke-width:1;opacity:.7}
svg .hair{stroke:var(--hair);stroke-width:1}svg .axis{stroke:var(--line);stroke-width:1}
.plot{margin:6px 0 2px}.plot .up{display:flex}.plot .area{flex:1;min-width:0}.plot svg{overflow:hidden}
.plot .side{position:relative;width:38px;font-size:11px;color:var(--soft)}
.plot .side span{position:absolute;right:7px;transform:translateY(-50%);font-variant-numeric:tabular-nums}
.plot .below{position:relative;height:18px;margin-left:38px;font-size:11px;color:var(--soft)}
.plot .below span{position:absolute;transform:translateX(-50%);top:3px;white-space:nowrap}
ul.plain{list-style:none;margin:0;padding:0}ul.plain li{padding:3px 0}
.steps li{padding:7px 0;border-bottom:1px solid var(--hair)}.steps li:last-child{border:0}
.steps .head{display:flex;gap:10px}.steps .head b{font-weight:600;flex:1;overflow-wrap:anywhere}
.steps .more{margin-left:22px;font-size:14px}.steps .more div{overflow-wrap:anywhere}
.mark{font-weight:700;width:12px;flex:none;text-align:center;display:inline-block}
.narrow{display:none}
.f-passed{fill:var(--good)}.f-failed,.f-error{fill:var(--bad)}.f-interrupted,.f-fault{fill:var(--warn)}
.f-running,.f-call{fill:var(--accent)}.f-pending{fill:var(--idle)}
.s-fault{stroke:var(--warn);stroke-width:1;stroke-dasharray:3 3}
.b-passed{background:var(--good)}.b-failed{background:var(--bad)}.b-call{background:var(--accent)}
.b-fault{background:var(--warn)}
.line{fill:none;stroke-width:2;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.z-good{fill:var(--good);opacity:.09}.z-warn{fill:var(--warn);opacity:.1}.z-bad{fill:var(--bad);opacity:.09}
@media screen and (max-width:760px){main{padding:14px 10px 40px}section{padding:14px 13px;border-radius:10px;
margin:10px 0}
h1{font-size:21px}.wide{display:none}.narrow{display:block}th,td{padding-right:12px}.charts{grid-template-columns:1fr}
table.cards thead{display:none}table.cards,table.cards tbody,table.cards tr,table.cards td{display:block;width:auto}
table.cards tr{padding:8px 0;border-bottom:1px solid var(--hair)}table.cards tr:last-child{border-bottom:0}
table.cards td{border:0;padding:1px 0;text-align:left;white-space:normal}
table.cards td[data-label=""]{display:inline-block}
table.cards td[data-label]:not([data-label=""]):not(:empty)::before{
content:attr(data-label) " ";color:var(--soft);font-size:13px;
display:inline-block;min-width:8.2em}}
@media print{:root{--bg:#fff;--card:#fff;--ink:#111;--soft:#444;--line:#bbb;--hair:#ddd;--accent:#1d3fb0;
--good:#0a6b52;--good-bg:#fff;--warn:#8a5200;--warn-bg:#fff;--bad:#a51d36;--bad-bg:#fff;--idle:#666;
--n0:#086a96;--n1:#6438a8;--n2:#9c4509;--n3:#3d6614;--l0:#1d3fb0;--l1:#9c4509;--l2:#6438a8;--l3:#0a6b52}
@page{margin:14mm}body{font-size:10.5pt}main{max-width:none;padding:0}
section{border:0;border-top:1px solid var(--line);border-radius:0;padding:12px 0;margin:0}
section.why{border-left:3px solid var(--bad);padding-left:10px}
h2{break-after:avoid}tr,li,.chart,figure{break-inside:avoid}
table{font-size:9.5pt}.scroll{overflow:visible}pre{max-height:none}
.charts{grid-template-columns:1fr 1fr}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""

NETWORKS = 4
"""Colours --n0 and so on, one for each virtual network in turn."""

LISTENERS = 4
"""Colours --l0 and so on."""
