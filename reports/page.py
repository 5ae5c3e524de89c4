"""The report as one page that needs no network: the markdown report with its figures drawn by plotly.js."""

import html
import json
import re
from collections.abc import Mapping

import plotly.graph_objects as go
import plotly.io
from markdown_it import MarkdownIt
from plotly.offline import get_plotlyjs

from reports import markdown
from reports.results import Results

_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"

_STYLE = """
:root { color-scheme: light dark;
  --text: #24292f; --paper: #ffffff; --line: #d5d9df; --quiet: #57606a; --shade: #f4f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --text: #d8dee6; --paper: #0d1117; --line: #2b323b; --quiet: #98a2ad; --shade: #161b22; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 56rem; padding: 1rem; color: var(--text); background: var(--paper);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; }
h2 { margin-top: 2.5rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); font-size: 1.3rem; }
h3 { margin-top: 2rem; font-size: 1.05rem; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 600; }
td { min-width: 4.5rem; } .number { white-space: nowrap; }
.wide { margin: 1.2rem 0; overflow-x: auto; overflow-wrap: normal; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .875em; }
code, pre { background: var(--shade); }
code { padding: .1em .25em; } pre { padding: .8rem; overflow-x: auto; } pre code { padding: 0; font-size: 1em; }
.figure { width: 100%; } .figure + p { color: var(--quiet); font-size: .875rem; margin-top: .3rem; }
"""

_SCRIPT = """
const stored = JSON.parse(document.getElementById("figures").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
function draw() {
  const template = stored.templates[dark.matches ? "dark" : "light"];
  for (const [name, figure] of Object.entries(stored.figures)) {
    const layout = {...structuredClone(figure.layout), template, dragmode: false};
    Plotly.react(name, structuredClone(figure.data), layout, {responsive: true, displayModeBar: false});
  }
}
dark.addEventListener("change", draw);
draw();
"""


def render(results: Results, figures: Mapping[str, go.Figure]) -> str:
    """The page: the text of the markdown report, with each figure interactive in its place."""
    text = markdown.render(results, figures.keys())
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    for name, figure in figures.items():
        height = figure.layout.height
        holder = f'<div class="figure" id="{name}" style="height: {height}px"></div>'
        body = re.sub(rf'<p><img src="figures/{name}\.png"[^>]*></p>', holder, body)
    body = re.sub(r"<td>([-+]?\d[^<]{0,20})</td>", r'<td class="number">\1</td>', body)
    body = body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    title = html.escape(text.splitlines()[0].removeprefix("# ").replace("`", ""))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
{body}
<script type="application/json" id="figures">{_stored(figures)}</script>
<script>{get_plotlyjs()}</script>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _stored(figures: Mapping[str, go.Figure]) -> str:
    """Figures without their template, and the template of each scheme once, as JSON that may stand in a page."""
    plain = {name: json.loads(figure.to_json()) for name, figure in figures.items()}
    templates = {
        scheme: json.loads(plotly.io.templates[template].to_json())
        for scheme, template in (("light", "kd_study"), ("dark", "kd_study_dark"))
    }
    for figure in plain.values():
        figure["layout"].pop("template", None)
    return json.dumps({"figures": plain, "templates": templates}).replace("<", "\\u003c")
