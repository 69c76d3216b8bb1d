"""What a page says where there is little room, and that it explains its own words."""

import re

from research.ablation.report import caption
from research.ablation.report.formats.latex import latex
from research.ablation.report.formats.markdown import markdown
from research.ablation.report.html.page import page
from research.ablation.report.layout import layout
from tests.ablation.report.outcomes import table_of

EIGHT = tuple(0.5 + seed / 100 for seed in range(8))
WORSE = tuple(value - 0.1 + 0.001 * (-1) ** seed for seed, value in enumerate(EIGHT))


def test_on_a_narrow_screen_verdict_and_p_are_left_of_everything_else(experiment):
    """Of the table only name, difference, p and verdict are shown, unless every column is asked for."""
    found = table_of(experiment, EIGHT, WORSE, ["diverged", *WORSE[1:]])
    assert [heading.text for heading in layout(found).headings if heading.essential] == [
        "variant",
        "Δ",
        "p (Holm)",
        "verdict",
    ]
    text = page(found)
    rows = re.findall(r'<tr data-index="\d">(.*?)</tr>', text, re.DOTALL)
    shown = [re.findall(r'<td class="(?![^"]*detail)[^"]*"[^>]*>([^<]*)<', row) for row in rows]
    assert [row[2] for row in shown] == ["–", "worse", "open, 1 pair missing"]
    assert shown[1][1] == "<0.001".replace("<", "&lt;")
    narrow = text.split("max-width: 720px")[1]
    assert ".narrow:not(:has(:checked)) + .shortened .detail { display: none; }" in narrow
    assert text.count('class="narrow"') == 1


def test_a_strip_says_what_is_claimed_and_by_which_p(experiment):
    text = page(table_of(experiment, EIGHT, WORSE, EIGHT))
    assert "worse, p &lt;0.001" in text and "open, p 1.000" in text


def test_columns_under_one_heading_stay_together(experiment):
    """Hiding some would set the others under the heading of their neighbours."""
    text = page(table_of(experiment, EIGHT, WORSE, metrics=("loss",)))
    assert 'class="groups"' in text and 'class="narrow"' not in text and 'class="scroll shortened"' not in text


def test_the_words_of_a_table_are_explained_beside_it(experiment):
    found = table_of(experiment, EIGHT, WORSE)
    said = " ".join(caption(found))
    for word in ("open: ", "dz: ", "P(better): ", "Δ is ", "bold: "):
        assert word in said
    for text in (page(found), markdown(found), latex(found)):
        assert "which is no evidence of equality. dz" in text
