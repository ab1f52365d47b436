"""The page's files and the reports that it links to, as routes of the application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmrec.serving.page.assets import FOLDER, REPORT_HEADERS, Asset, assets
from llmrec.serving.page.backend import Page
from llmrec.serving.page.run_folder import REPORTS

__all__ = ["is_file", "mount_files"]


def is_file(path: str) -> bool:
    """Whether a path is of the page's own files, which hold no data and need no key, or of a report's secret name."""
    return path == "/" or path.startswith(FOLDER)


def mount_files(app: Any, page: Page) -> None:
    """Add the routes of the page's files and reports to an application of FastAPI."""
    from fastapi.responses import PlainTextResponse, Response  # there, or there were no application

    def answering(asset: Asset) -> Callable[[], Any]:
        async def answer() -> Any:
            return Response(asset.body, 200, dict(asset.headers), media_type=asset.media_type)

        return answer

    for path, asset in assets().items():
        app.add_api_route(path, answering(asset), methods=["GET"], include_in_schema=False)

    async def report(token: str) -> Any:
        body = page.report(token)
        if body is None:
            return PlainTextResponse("This report is not there any more; open it from the page anew.", 404)
        return Response(body, 200, dict(REPORT_HEADERS), media_type="text/html")

    report.__annotations__ = {"token": str}
    app.add_api_route(REPORTS + "{token}", report, methods=["GET"], include_in_schema=False)
