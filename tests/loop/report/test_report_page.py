"""The page: self-contained, well-formed, safe, honest about fidelities; and alive in a real browser."""
# ruff: noqa: E501 - a page is probed by one line of script, a message stands as it is shown

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from loop.ledger.ledger import Ledger
from loop.report import build, render, write_report
from tests.loop.alloy_campaign import CAMPAIGN, World
from tests.loop.alloy_structures import VERIFY, proposals, spec

VOID = {"meta", "input", "br", "link", "img", "hr"}


class Reader(HTMLParser):
    """Checks that tags are balanced and collects ids, links, scripts and everything that could load something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.scripts = 0
        self.wrong: list[str] = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if tag == "a" and "href" in values else []
        self.scripts += tag == "script"
        self.loads += [
            f"{tag} {key}={values[key]}"
            for key in ("src", "srcset", "data", "action", "poster")
            if values.get(key)
        ]
        self.loads += [f"link {values.get('href')}"] if tag == "link" else []
        self.wrong += [f"{tag} {key}" for key in values if key.startswith("on")]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}>")


@pytest.fixture(scope="module")
def html(alloys) -> str:
    return render(build(alloys, CAMPAIGN, folder=Path()))


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


def test_is_well_formed(html):
    reader = read(html)
    assert reader.wrong == []
    assert reader.open == []
    assert len(set(reader.ids)) == len(reader.ids)


def test_needs_no_network(html):
    reader = read(html)
    assert reader.loads == []
    assert set(re.findall(r"https?://[^\s\"'<]+", html)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_is_small(html):
    assert len(html.encode()) < 1_000_000


def test_every_link_leads_somewhere_on_the_page(html):
    reader = read(html)
    inside = {link[1:] for link in reader.links if link.startswith("#")}
    assert len(inside) == len(set(reader.links))
    assert inside - set(reader.ids) == set()


def test_every_drawing_is_xml_with_a_label(html):
    drawings = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(drawings) > 10
    for drawing in drawings:
        assert ET.fromstring(drawing).attrib["aria-label"]


def test_stable_never_stands_without_its_fidelity(html):
    text = re.sub(r"<style>.*?</style>|<script.*?</script>|<pre>.*?</pre>", "", html, flags=re.DOTALL)
    chips = re.findall(r'<span class="chip (?:stable|metastable)">(.*?)</span>', text)
    assert chips
    assert all(re.fullmatch(rf"(meta)?stable at {VERIFY}", chip) for chip in chips)


def test_scenes_are_json_of_every_finding(html, alloys):
    data = json.loads(
        re.search(r'<script type="application/json" id="scenes">(.*?)</script>', html, flags=re.DOTALL)[1]
    )
    report = build(alloys, CAMPAIGN, folder=Path())
    assert set(data["scenes"]) == {f.candidate_id for f in report.findings}
    assert set(data["palette"]) == {"Au", "Cu", "Pd"}


def test_hostile_names_stay_text(tmp_path):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        world = World(ledger, spec=spec(generators=[{"name": evil}], known_phases=[evil]))
        world.begin()
        world.begin_references()
        structures = [
            (evil, atoms, {"prototype": evil, evil: evil}, (evil,)) for _, atoms, _, _ in proposals()[0][:4]
        ]
        world.turn(1, structures)
        world.stop(1, evil)
        html = render(build(ledger, world.id, folder=tmp_path))
    reader = read(html)
    assert reader.scripts == 3
    assert reader.wrong == []
    assert reader.loads == []
    assert "<img" not in html
    assert "alert(1)" in html, "it is shown, as text"


def test_a_report_replaces_the_earlier_one_whole(alloys, tmp_path):
    to = tmp_path / "deep" / "report.html"
    assert write_report(alloys, CAMPAIGN, to=to, base=tmp_path) == to
    first = to.read_text()
    write_report(alloys, CAMPAIGN, to=to, base=tmp_path)
    assert to.read_text() == first, "the same ledger gives the same page"
    assert [path.name for path in to.parent.iterdir()] == ["report.html"]


def test_the_page_of_the_docs_runs(alloys, tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[3] / "docs" / "report.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "campaign").mkdir()
    shutil.copy(alloys.url.removeprefix("sqlite:///"), tmp_path / "campaign" / "ledger.sqlite")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert f"stable at {VERIFY}" in capsys.readouterr().out
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


PROBE = """<script>
addEventListener("error", e => document.title = "error: " + e.message);
addEventListener("load", () => setTimeout(() => {
  const painted = canvas => canvas.width && canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some(v => v);
  const digest = canvas => canvas.toDataURL().length + canvas.toDataURL().slice(-400);
  const cards = [...document.querySelectorAll(".card canvas")];
  const before = digest(cards[0]);
  cards[0].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" }));
  const row = document.querySelector("[data-findings] tbody");
  const hidden = getComputedStyle(row.querySelector(".detail")).display;
  row.querySelector(".main").click();
  const shown = getComputedStyle(row.querySelector(".detail")).display;
  document.querySelector("[data-search]").value = "Pd";
  document.querySelector("[data-search]").dispatchEvent(new Event("input"));
  const visible = [...document.querySelectorAll("[data-findings] tbody")].filter(b => !b.hidden).map(b => b.dataset.formula);
  const heads = document.querySelectorAll("th[data-sort]");
  heads[1].click(); heads[1].click();
  const energies = [...document.querySelectorAll("[data-findings] tbody")].map(b => Number(b.rows[0].cells[2].dataset.value));
  document.title = JSON.stringify({ painted: cards.every(painted), cards: cards.length, turned: digest(cards[0]) !== before, hidden, shown, visible, energies });
}, 400));
</script>"""


@pytest.mark.slow
def test_in_a_browser_crystals_are_drawn_and_rows_open(html, alloys, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    page = tmp_path / "report.html"
    page.write_text(html.replace("</head>", PROBE + "</head>"))
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=5000", "--window-size=1300,2000",
        f"--user-data-dir={tmp_path / 'profile'}", "--disable-background-networking", "--no-first-run", "--disable-component-update",
        "--disable-sync", page.as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    title = re.search(r"<title>(.*?)</title>", dom)[1].replace("&quot;", '"')
    seen = json.loads(title)
    report = build(alloys, CAMPAIGN, folder=Path())
    assert seen["cards"] == min(6, len(report.discoveries))
    assert seen["painted"]
    assert seen["turned"]
    assert (seen["hidden"], seen["shown"]) == ("none", "table-row")
    assert sorted(seen["visible"]) == sorted(f.formula for f in report.findings if "Pd" in f.formula)
    assert seen["energies"] == sorted((f.screened for f in report.findings), reverse=True)
