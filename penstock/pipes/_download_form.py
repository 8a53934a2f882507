"""The page on which Google Drive asks whether a file that it has not scanned for viruses should be downloaded."""

from __future__ import annotations

from html.parser import HTMLParser

__all__ = ["DownloadForm"]


class DownloadForm(HTMLParser):
    """The form that confirms a download: where it leads, and its hidden fields."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        if tag == "form" and values.get("id", "download-form") == "download-form":
            self.action = values.get("action", "")
        elif tag == "input" and values.get("type") == "hidden" and "name" in values:
            self.fields[values["name"]] = values.get("value", "")
