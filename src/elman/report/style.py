"""How a report looks: one palette for the page and its plots, light and dark, on a desktop, a phone and paper."""

LIGHT = {
    "ink": "#1b1f24",
    "soft": "#59636e",
    "line": "#d1d9e0",
    "paper": "#ffffff",
    "accent": "#0b6bcb",
    "second": "#c4500f",
    "third": "#1a7f4b",
    "fourth": "#8250df",
}
DARK = {
    "ink": "#e6edf3",
    "soft": "#9198a1",
    "line": "#3d444d",
    "paper": "#14181d",
    "accent": "#6cb6ff",
    "second": "#ff9e64",
    "third": "#57d38c",
    "fourth": "#c8a6ff",
}


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}: {value}; " for name, value in colours.items())


STYLE = (
    f"""
:root {{ color-scheme: light dark; {_variables(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}
@media print {{ :root {{ color-scheme: light; {_variables(LIGHT)} }} }}
"""
    + """
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 48rem; margin: 0 auto; padding: 2.5rem 1rem 4rem; overflow-wrap: anywhere; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: .1rem 0 .8rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 3rem 0 .4rem; padding-top: 1.2rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
p { margin: .5rem 0; } .soft, figcaption, .kicker { color: var(--soft); }
.kicker { font-size: .85rem; letter-spacing: .04em; margin: 0; }
.headline { font-size: 1.25rem; line-height: 1.45; margin: 0 0 1.4rem; } .headline b { color: var(--accent); }
dl.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.5rem, 1fr)); gap: 1px; margin: 0;
  background: var(--line); border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
dl.facts div { background: var(--paper); padding: .55rem .8rem; }
dl.facts dt { color: var(--soft); font-size: .8rem; } dl.facts dd { margin: 0; font-weight: 600; }
figure { margin: 1rem 0 0; break-inside: avoid; } figcaption { font-size: .9rem; margin: .2rem 0 .6rem; }
figcaption a, .soft a { color: inherit; }
svg { display: block; width: 100%; height: auto; } svg text { font-family: inherit; }
svg * { stroke-linejoin: round; stroke-linecap: butt; } svg image { image-rendering: pixelated; }
.narrow { display: none; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; margin: .6rem 0; }
th, td { text-align: right; padding: .35rem .5rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td { white-space: nowrap; overflow-wrap: break-word; } td:first-child, td.text { white-space: normal; }
.scroll { overflow-x: auto; } .scroll td.text:first-child { min-width: 9rem; }
th { font-size: .82rem; font-weight: 600; color: var(--soft); vertical-align: bottom; overflow-wrap: normal; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
td.model { color: var(--accent); } td.best { font-weight: 700; } td small { display: block; color: var(--soft); font-weight: 400; }
td small { font-size: .78rem; line-height: 1.35; }
.passage { white-space: pre-wrap; border-left: 3px solid var(--line); padding: .1rem 0 .1rem .9rem; margin: .3rem 0 1rem;
  font: .92rem/1.6 ui-monospace, "SF Mono", Menlo, Consolas, monospace; break-inside: avoid; }
.passage span { border-radius: 2px; print-color-adjust: exact; -webkit-print-color-adjust: exact;
  background: color-mix(in srgb, var(--second) calc(var(--s) * 65%), transparent); }
pre { overflow: auto; max-height: 24rem; border: 1px solid var(--line); border-radius: 8px; padding: .8rem; font-size: .82rem; }
dl.pairs { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; font-size: .9rem; margin: .6rem 0; }
dl.pairs dt { color: var(--soft); } dl.pairs dd { margin: 0; }
p.soft, footer { font-size: .88rem; } footer { margin-top: 3rem; }
@media (max-width: 40rem) {
  body { padding-top: 1.2rem; } h1 { font-size: 1.5rem; } .headline { font-size: 1.1rem; }
  .wide { display: none; } .narrow { display: block; }
  table.scores thead { display: none; } table.scores, table.scores tbody { display: block; }
  table.scores tr { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: 0 1.2rem; padding: .7rem 0;
    border-bottom: 1px solid var(--line); }
  table.scores td { display: flex; justify-content: space-between; gap: .6rem; border: 0; padding: .1rem 0; text-align: right; }
  table.scores td:first-child { display: block; grid-column: 1 / -1; text-align: left; font-weight: 600; }
  table.scores td.model { grid-column: 1 / -1; justify-content: flex-start; } table.scores td.model small { align-self: center; }
  table.scores td[data-label]::before { content: attr(data-label); color: var(--soft); font-weight: 400; text-align: left; }
  table.scores td.none { display: none; }
  dl.pairs { grid-template-columns: 1fr; } dl.pairs dd { margin-bottom: .4rem; }
}
@media print {
  @page { margin: 16mm; } body { max-width: none; padding: 0; font-size: 10.5pt; }
  .files { display: none; }
  pre { max-height: none; white-space: pre-wrap; } h2, h3 { break-after: avoid; } table, tr { break-inside: avoid; }
}
"""
)
