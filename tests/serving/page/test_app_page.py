"""A person at the page, in a real browser at a real server: what is done, and what is then shown."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from llmrec.cli import status_of
from llmrec.evaluation.runs import read_run
from llmrec.serving.loaded import Places
from llmrec.serving.page.assets import assets
from llmrec.serving.page.places import PagePlaces
from tests.browser import needs_chromium
from tests.serving.conftest import Client, Shop
from tests.serving.page.conftest import Visit

pytestmark = needs_chromium
WCAG = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]
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
    visit.page.locator("#chips .title", has_text="Brand3 ボルト").first.wait_for()  # a title may come after its list
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


def test_cards_say_what_a_product_is_and_why_it_is_there(shown: Client, visit: Visit) -> None:
    page = visit.open(STATE)
    page.wait_for_selector(".card .why")
    answer = shown.ask("/v1/recommend", {"items": ["I00", "I01"], "locale": "US", "explain": True}).json["items"]
    assert visit.texts(".list:first-child .card h3") == [one["title"].strip() for one in answer]
    assert visit.texts(".list:first-child .card .why li") == [text for one in answer for text in one["why"]]
    badges = page.locator(".list:first-child .card").first.locator(".badges b").all_inner_texts()
    assert sorted(badges) == sorted(f"#{rank}" for rank in answer[0]["sources"].values())
    page.locator(".numbers-of summary").first.click()
    features = page.locator(".list:first-child .card").first.locator("tbody th").all_inner_texts()
    assert features == [one["feature"] for one in answer[0]["reasons"]]
    assert not page.get_by_text("40000000").count()


def test_why_not_this_one(visit: Visit) -> None:
    page = visit.open(STATE)
    for product, words in (("I01", "seen products are dropped"), ("nobody", "never seen"), ("I02", "of this session")):
        page.get_by_label("Id of a product").fill(product)
        page.get_by_role("button", name="Ask", exact=True).click()
        page.get_by_role("region", name="Why not this one?").get_by_text(words).wait_for()
    page = visit.open(f"{STATE}&t=I73")
    page.get_by_role("button", name="Why is it there, or not?").click()
    page.get_by_role("region", name="Why not this one?").get_by_text("I73", exact=True).wait_for()


def test_the_title_beside_the_last_one_and_the_truth(shown: Client, visit: Visit) -> None:
    page = visit.open(f"{STATE}&t=I02")
    page.wait_for_selector(".titles")
    told = shown.ask("/v1/title", {"items": ["I00", "I01"], "locale": "US"}).json
    last, predicted, truth = visit.texts(".titles dd")
    assert (last, predicted) == (told["last_title"], told["title"])
    assert truth.startswith("Brand0 Bolt kind 0, steel, 3 inch")
    assert visit.texts(".titles del") == told["dropped"]
    assert visit.texts(".titles ins") == told["new"]
    assert page.get_by_text(f"expected BLEU {told['expected_bleu']:.1f}").count() == 1
    assert page.locator(".card.hit").get_attribute("data-id") == "I02"


def test_two_rankers_side_by_side(shown: Client, visit: Visit) -> None:
    page = visit.open(f"{STATE}&k=5")
    visit.until_listed(asked(shown, ["I00", "I01"], 5))
    page.get_by_label("Beside it").select_option("covisit")
    page.wait_for_selector(".list:nth-child(2) .card")
    other = shown.ask("/v1/page/beside", {"items": ["I00", "I01"], "locale": "US", "k": 5, "ranker": "covisit"}).json[
        "items"
    ]
    mine, theirs = visit.listed(), [one["id"] for one in other]
    both = len({*mine} & {*theirs})
    assert visit.texts(".overlap") == [f"{both} of 5 in both lists"]
    moved = {
        one: "new" if one not in mine else {True: "▲", False: "▼"}[mine.index(one) > theirs.index(one)]
        for one in theirs
        if one not in mine or mine.index(one) != theirs.index(one)
    }
    for one, sign in moved.items():
        assert sign in page.locator(f".list:nth-child(2) [data-id={one}] .moved").inner_text()
    assert page.locator(".list:nth-child(2) .why li").count() > 0


def test_similar_products_in_other_languages(visit: Visit) -> None:
    page = visit.open("#v=similar&q=Brand3 kind 3, steel")
    page.wait_for_selector("#view-similar .card")
    assert {"US", "JP"} <= {*visit.texts("#view-similar .place")}
    page.get_by_label("Only").select_option("JP")
    page.wait_for_function(
        "() => [...document.querySelectorAll('#view-similar .place')].every(p => p.innerText === 'JP')"
    )
    assert page.locator("#view-similar .title").first.get_attribute("lang") == "ja"
    assert visit.texts("#view-similar .ms")[0].endswith("ms")
    page.locator("#view-similar .plus").first.click()
    page.wait_for_selector("#chips .chip")
    assert page.locator("#locale").input_value() == "JP"


def test_prompts_side_by_side_one_failing_alone(
    shop: Shop, serve: Callable[..., Client], visiting: Callable[..., Visit]
) -> None:
    visit = visiting(serve(shop.places, page=PagePlaces()))
    page = visit.open("#v=prompts&l=US&s=I00&s=I01")
    panels = page.locator(".prompts .panel")
    panels.nth(0).locator(".written").wait_for()
    assert "Brand0 Bolt kind 0, steel, 2 inch" in panels.nth(0).locator(".prompt-text").inner_text()
    assert re.search(r"\d+ tokens read, \d+ written, [\d.]+ s", panels.nth(0).locator(".hint").first.inner_text())
    panels.nth(1).locator(".trouble").wait_for()  # the tiny model reads 48 tokens, which this wording fills
    assert "48" in panels.nth(1).locator(".trouble").inner_text()
    panels.nth(1).get_by_label("Prompt").select_option("next_title/plain_v1")
    panels.nth(1).locator(".written").wait_for()
    for _ in range(2):
        page.get_by_role("button", name="Add a column").click()
    assert panels.count() == 4
    assert page.get_by_role("button", name="Add a column").is_disabled()
    page.get_by_role("button", name="Remove column 4").click()
    assert panels.count() == 3
    page.wait_for_load_state("networkidle")
    visit.wrong[:] = [text for text in visit.wrong if "422" not in text]  # the browser tells of them in its console


def test_runs_their_reports_and_two_compared(shown: Client, visit: Visit) -> None:
    page = visit.open("#v=runs")
    page.wait_for_selector("#view-runs table")
    told = shown.ask("/v1/page/runs", {}).json
    assert {*visit.texts("#view-runs .runs div:first-of-type tbody th")[:2]} == {"covisit", "fusion"}
    first, second = sorted(told["runs"], key=lambda one: -one["metrics"]["mrr@100"])
    gain = first["metrics"]["mrr@100"] - second["metrics"]["mrr@100"]
    cells = page.locator("#view-runs table").nth(1).locator("tbody tr").first.locator("td").all_inner_texts()
    assert cells[0] == signed(gain)
    page.wait_for_selector("#view-runs p[role=status]:has-text('paired bootstrap')")
    names = {"first": first["name"], "second": second["name"]}
    told = shown.ask("/v1/page/difference", names).json["differences"]
    intervals = [f"{signed(one['low'])} to {signed(one['high'])}" for one in told if one["part"] == "all sessions"]
    assert page.locator("#view-runs table").nth(1).locator("td:nth-child(3)").all_inner_texts() == intervals
    page.locator("#view-runs .as-code summary").click()
    page.locator("#view-runs").get_by_role("button", name="command line").click()
    command = shlex.split(page.locator("#view-runs .as-code pre").inner_text())
    runs = ["--targets", "sessions_validation.parquet", "--compare", f"{second['name']}.parquet", "--by", "locale"]
    assert command == ["llmrec", "evaluate", f"{first['name']}.parquet", *runs]
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="report.html").click()
    report = opened.value
    report.wait_for_load_state()
    assert report.locator("p").inner_text() == "A report"
    assert report.evaluate("1") == 1
    assert shown.ask("/page/reports/guessed").status == 404


def signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{value:.4f}"


def test_every_answer_as_curl_python_and_command_line(
    shown: Client, visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit.open(f"{STATE}&k=3")
    page.locator(".list .as-code summary").first.click()
    curl = page.locator(".list .as-code pre").first.inner_text()
    sent = json.loads(shlex.split(curl)[-1])
    answer = [one["id"] for one in shown.ask("/v1/recommend", sent).json["items"]]
    visit.until_listed(answer)
    page.get_by_role("button", name="Python", exact=True).first.click()
    code = page.locator(".list .as-code pre").first.inner_text()
    found: dict[str, Any] = {}
    exec(code, found)  # noqa: S102 - what the page tells people to run
    assert found["ids"] == answer
    page.get_by_role("button", name="command line").first.click()
    file, command = page.locator(".list .as-code pre").first.inner_text().splitlines()
    subprocess.run(file, shell=True, cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    assert status_of(shlex.split(command)[1:]) == 0
    assert read_run(tmp_path / "list.parquet").predictions[0].as_py() == answer
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").first.click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("printf")


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1280)])
def test_everybody_can_use_it(shown: Client, visiting: Callable[..., Visit], scheme: str, width: int) -> None:
    visit = visiting(shown, color_scheme=scheme, viewport={"width": width, "height": 900})
    page = visit.open(f"{STATE}&t=I02&c=covisit")
    page.wait_for_selector(".titles")
    for view, there in (("next", ".card"), ("similar&q=Bolt", ".card"), ("prompts", ".prompt-text"), ("runs", "table")):
        visit.open(f"{STATE}&t=I02&c=covisit&v={view}")
        page.wait_for_selector(f"#view-{view.split('&')[0]} {there}")
        found = (
            Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]}).response["violations"]
        )
        assert [(one["id"], one["nodes"][0]["target"], one["nodes"][0]["failureSummary"]) for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view


def test_a_key_is_asked_for_and_goes_to_this_service_alone(
    shop: Shop, serve: Callable[..., Client], visiting: Callable[..., Visit]
) -> None:
    client = serve(Places(ranker=shop.places.ranker), keys={"me": "k" * 20}, page=PagePlaces())
    visit = visiting(client)
    visit.page.goto(visit.address)
    field = visit.page.get_by_role("textbox", name="Key")
    field.fill("wrong")
    visit.page.get_by_role("button", name="Go on").click()
    visit.page.wait_for_function("() => document.getElementById('key').open")
    field.fill("k" * 20)
    visit.page.get_by_role("button", name="Go on").click()
    visit.page.wait_for_selector(".card")
    assert client.ask("/v1/page/setup", {}).status == 401
    visit.wrong[:] = [text for text in visit.wrong if "401" not in text]  # the browser tells of each in its console


def test_nothing_is_loaded_but_the_services_own_files(shown: Client) -> None:
    answer = shown.ask("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert b"http" not in answer.body.replace(b"http-equiv", b"")
    for name, asset in assets().items():
        assert not re.findall(
            rb"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", asset.body.replace(b"http://www.w3.org/2000/svg", b"")
        ), name
        assert b"innerHTML" not in asset.body, name
    assert shown.ask("/page/nothing.js").status == 404


def test_a_request_is_made_from_the_documentation(shown: Client, visiting: Callable[..., Visit]) -> None:
    page = visiting(shown).page
    page.goto(f"http://127.0.0.1:{shown.port}/docs")
    page.get_by_text("/health/ready", exact=True).click()
    route = page.locator("details[open]")
    route.get_by_role("button", name="Send").click()
    page.wait_for_function("() => document.querySelector('details[open]').innerText.includes('true')")


def test_a_service_without_the_page_has_none(client: Client) -> None:
    assert client.ask("/").status == 404
    assert client.ask("/v1/page/setup", {}).status == 404
