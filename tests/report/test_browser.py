"""The page in a real browser: headless Chromium, four widths, both themes; skipped where there is no Chromium."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from raysweep.report.write import write_report

from .fake_study import make_study

_CHROMIUM = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
_WIDTHS = (360, 390, 768, 1280)
_SMALLEST_PX = 12
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(_CHROMIUM is None, reason="no Chromium on this machine: the page is not opened in a browser"),
]

# Loads the page in frames of the widths that are asked for, looks at each, and leaves what it found as text.
_FRAMES = """<!doctype html><meta charset="utf-8"><title>frames</title><body>
<script>
const widths = WIDTHS, found = {};
const wait = (ms) => new Promise((go) => setTimeout(go, ms));
async function look(width) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width:${width}px;height:900px;border:0`;
  const loaded = new Promise((go) => frame.addEventListener("load", go));
  frame.src = "PAGE";
  document.body.append(frame);
  await loaded;
  const doc = frame.contentDocument, view = frame.contentWindow;
  doc.querySelectorAll("details").forEach((d) => { d.open = true; });
  await wait(50);
  const root = doc.documentElement, small = new Set();
  const walk = doc.createTreeWalker(doc.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const box = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || box.closest("script,style,.unseen")) continue;
    const svg = box.closest("svg");
    const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    const px = parseFloat(view.getComputedStyle(box).fontSize) * scale;
    if (px < SMALLEST) small.add(`${px.toFixed(1)} ${walk.currentNode.data.trim().slice(0, 30)}`);
  }
  const wide = [...doc.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > width + 1
    && !e.closest(".scroll,.figure,pre,svg,.unseen")).map((e) => `${e.tagName}.${e.className}`);
  const empty = [...doc.images].filter((i) => i.complete && !i.naturalWidth).length;
  found[width] = { scroll: root.scrollWidth - root.clientWidth, wide, small: [...small], empty };
  if (width === Math.max(...widths)) found.sorted = sorting(doc);
  frame.remove();
}
function sorting(doc) {
  const out = [];
  for (const table of doc.querySelectorAll("table.sorts")) {
    const buttons = table.querySelectorAll("thead button");
    if (!buttons.length) continue;
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, i) => {
      const column = () => [...table.tBodies[0].rows].map((r) => r.cells[i].textContent.trim());
      const before = column();
      buttons[i].click();
      const first = head.getAttribute("aria-sort"), one = column();
      buttons[i].click();
      const second = head.getAttribute("aria-sort"), numbers = head.classList.contains("n");
      out.push({ name: head.textContent, numbers, first, second,
                 marked: table.querySelectorAll("[aria-sort]").length, before, one, two: column() });
    });
  }
  const copy = doc.querySelector("button.copy");
  return { columns: out, copies: doc.querySelectorAll("button.copy").length, copy: copy && copy.textContent };
}
(async () => {
  for (const width of widths) await look(width);
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
  document.title = "done";
})();
</script>"""


def _opened(page: Path, *, dark: bool) -> tuple[dict, str]:
    """What was found, and what Chromium said."""
    frames = page.parent / f"frames-{dark}.html"
    text = (
        _FRAMES.replace("WIDTHS", json.dumps(_WIDTHS)).replace("PAGE", page.name).replace("SMALLEST", str(_SMALLEST_PX))
    )
    frames.write_text(text)
    command = [
        str(_CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
        "--enable-logging=stderr", "--virtual-time-budget=30000", "--window-size=1400,1000", "--hide-scrollbars",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        f"--user-data-dir={page.parent / f'profile-{dark}'}", "--dump-dom", frames.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    [json_text] = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout, flags=re.S)
    return json.loads(json_text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")), done.stderr


@pytest.fixture(scope="module", params=[False, True], ids=["light", "dark"])
def seen(request, tmp_path_factory):
    skills = {"imagenet": 0.9, "random": 0.2, "simclr": 1.5, "a-name-that-is-far-too-long-for-any-column": 1.2}
    study = make_study(tmp_path_factory.mktemp("browser"), fractions=(0.1, 0.5, 1.0), skills=skills)
    page = Path(write_report(**vars(study)).path("index.html"))
    return _opened(page, dark=request.param)


def test_nothing_is_said_on_the_console(seen):
    assert "CONSOLE" not in seen[1]


@pytest.mark.parametrize("width", _WIDTHS)
def test_nothing_overflows_and_every_text_is_large_enough(seen, width):
    own = seen[0][str(width)]
    assert own["scroll"] <= 0
    assert own["wide"] == []
    assert own["small"] == []
    assert own["empty"] == 0


def test_tables_sort_both_ways(seen):
    columns = seen[0]["sorted"]["columns"]
    assert len(columns) > 20
    for c in columns:
        assert c["marked"] == 1
        assert {c["first"], c["second"]} == {"ascending", "descending"}
        assert c["first"] == ("descending" if c["numbers"] else "ascending"), c["name"]
        assert sorted(c["one"]) == sorted(c["two"]) == sorted(c["before"]), "the same rows"
    value = next(c for c in columns if c["numbers"] and all(re.match(r"(★ )?0\.\d{3}", x) for x in c["before"]))
    numbers = [float(re.search(r"0\.\d{3}", x)[0]) for x in value["one"]]
    assert numbers == sorted(numbers, reverse=True)


def test_texts_can_be_copied(seen):
    assert seen[0]["sorted"]["copies"] == 2
    assert seen[0]["sorted"]["copy"] == "Copy"
