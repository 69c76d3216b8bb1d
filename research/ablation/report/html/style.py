"""How the HTML report looks, and the few lines that sort its table."""

CSS = """
:root { color-scheme: light dark; --ground: #ffffff; --panel: #f5f6f7; --ink: #1a1d21; --soft: #565e67; --line: #d5d9dd;
  --faint: #e9ebed; --base: #6c757e; --better: #0a5fb4; --worse: #b1430b; --claim: #6a4bb0; --warn: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --panel: #1d2125; --ink: #e9ebee; --soft: #a9b2bb;
  --line: #3a4148; --faint: #262b30; --base: #98a2ab; --better: #6cb4f8; --worse: #f3955c; --claim: #b9a2f2;
  --warn: #e2b04a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); line-height: 1.5;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 6px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 44px 0 4px; }
h3 { font-size: 15px; margin: 20px 0 4px; overflow-wrap: anywhere; }
p { margin: 6px 0; max-width: 80ch; overflow-wrap: anywhere; }
.soft, figcaption, .facts dt { color: var(--soft); }
figcaption, .caption { font-size: 13px; color: var(--soft); max-width: 96ch; margin: 8px 0; overflow-wrap: anywhere; }
figure { margin: 0; }
.facts { display: flex; flex-wrap: wrap; gap: 8px 32px; margin: 18px 0; padding: 12px 16px; background: var(--panel);
  border-radius: 8px; }
.facts div { min-width: 0; } .facts dt { font-size: 12px; }
.facts dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.finding { border-left: 3px solid var(--ink); padding-left: 14px; margin: 18px 0; } .finding p { font-size: 16px; }
ul { margin: 6px 0; padding-left: 20px; } .finding ul:empty { display: none; }
svg { overflow: visible; } svg.plot { overflow: hidden; }
.draw { position: relative; } .draw > svg { position: absolute; inset: 0; width: 100%; height: 100%; }
svg text { fill: var(--soft); font-size: 11px; font-variant-numeric: tabular-nums; }
.strips { margin-top: 12px; }
.strip { display: grid; grid-template-columns: minmax(0, 250px) minmax(0, 1fr) 232px; column-gap: 20px;
  border-top: 1px solid var(--faint); }
.strip > span { align-self: center; }
.strip .name { padding: 6px 0; line-height: 1.3; overflow-wrap: anywhere; }
.strip .number { text-align: right; font-variant-numeric: tabular-nums; font-size: 13px; white-space: nowrap; }
.strip.axis { border-top: 1px solid var(--line); }
.zero { stroke: var(--base); stroke-width: 1.5; } .grid { stroke: var(--faint); }
.margin { fill: var(--base); opacity: .16; }
.bar { stroke-width: 3; stroke: currentColor; } .dot { fill: currentColor; } .seed { fill: currentColor; opacity: .45; }
.link { stroke: currentColor; stroke-width: 1; opacity: .6; } .mean { stroke: currentColor; stroke-width: 2.5; }
.of-baseline { color: var(--base); } .open, .none { color: var(--base); } .equivalent { color: var(--base); }
.better { color: var(--better); } .worse { color: var(--worse); } .different { color: var(--claim); }
.warns { color: var(--warn); }
.scroll { overflow-x: auto; margin: 12px 0; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { padding: 7px 8px; text-align: left; white-space: nowrap; border-top: 1px solid var(--faint);
  vertical-align: baseline; }
thead th { font-weight: 600; border-top: 0; background: var(--panel); vertical-align: bottom; }
thead tr.groups th { text-align: center; padding-bottom: 0; }
thead tr.groups th + th { border-left: 1px solid var(--line); }
tbody td:not(.numeric), td.warns { white-space: normal; }
tbody td:not(.numeric) { min-width: 104px; } td.warns { max-width: 90px; }
.numeric { text-align: right; font-variant-numeric: tabular-nums; }
tbody th { font-weight: 400; white-space: normal; min-width: 180px; max-width: 300px; overflow-wrap: anywhere;
  position: sticky; left: 0; background: var(--ground); box-shadow: 1px 0 0 var(--line); }
thead th:first-child { position: sticky; left: 0; box-shadow: 1px 0 0 var(--line); }
tbody th small { display: block; color: var(--soft); }
tbody .marked { font-weight: 700; }
th button { all: unset; cursor: pointer; white-space: nowrap; position: relative; }
th button:focus-visible { outline: 2px solid var(--better); outline-offset: 3px; border-radius: 2px; }
th button::after { position: absolute; right: -11px; font-size: 11px; opacity: .6; }
th button:hover::after { content: "\\2195"; }
th[aria-sort=ascending] button::after { content: "\\2191"; }
th[aria-sort=descending] button::after { content: "\\2193"; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: 20px 24px;
  margin-top: 12px; }
.panels > div { display: flex; flex-direction: column; justify-content: space-between; }
.panels > div > svg { width: 100%; height: auto; }
.panels h4 { font-size: 13px; font-weight: 400; margin: 0; overflow-wrap: anywhere; }
.curve { fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linejoin: round; }
.band { fill: currentColor; opacity: .2; stroke: none; } .cell { color: var(--better); }
details { margin: 12px 0; } summary { cursor: pointer; font-weight: 600; }
.receipts td { white-space: normal; overflow-wrap: anywhere; min-width: 90px; max-width: 340px; }
li { max-width: 96ch; overflow-wrap: anywhere; margin: 3px 0; }
@media (max-width: 720px) {
  main { padding: 20px 14px 48px; } h1 { font-size: 22px; }
  .strip { grid-template-columns: minmax(0, 1fr); padding: 6px 0; }
  .strip .number { text-align: left; grid-row: 2; }
  .strip.axis > :first-child, .strip.axis > :last-child { display: none; }
  tbody th { min-width: 120px; max-width: 150px; } th, td { padding: 6px 8px; }
}
@media print { .scroll { overflow: visible; } details > * { display: block; } }
"""

SCRIPT = """
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const index = [...head.parentNode.children].indexOf(head);
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => {
      const text = row.children[index].dataset.value;
      return head.classList.contains("numeric") ? (text === "" ? NaN : Number(text)) : text;
    };
    const order = (a, b) => {
      const x = key(a), y = key(b);
      if (x !== x || y !== y) return (x !== x) - (y !== y);
      return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
    };
    const [first, ...rest] = [...body.rows].sort((a, b) => a.dataset.index - b.dataset.index);
    body.append(first, ...rest.sort(order));
  });
}
"""
