"""The helper that opens pages: it must see an error where there is one."""

from __future__ import annotations

from pathlib import Path

from tests.browser import needs_chromium, open_page, svg_marks


@needs_chromium
def test_a_page_is_opened_and_its_console_is_heard(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        "<!doctype html><title>t</title><p id=p>before</p>"
        "<script>document.getElementById('p').textContent = 'after'; console.error('it broke')</script>"
        "<svg><path d='M0 0L9 9'/></svg>",
        encoding="utf-8",
    )
    opened = open_page(page, tmp_path)
    assert "after" in opened.document
    assert any("it broke" in line for line in opened.console)
    assert opened.png.read_bytes().startswith(b"\x89PNG")
    assert svg_marks(opened.document) == [1]
    page.write_text("<!doctype html><title>t</title><p>quiet</p>", encoding="utf-8")
    assert open_page(page, tmp_path).console == []
