"""A person at the portal: signs in, opens pages, sends the very forms that stand on them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Self
from urllib.parse import urlsplit

import httpx

from meterloop.demo.stage import StepFailedError, patiently

_AWAY = 503


@dataclass(slots=True)
class _Form:
    action: str
    fields: dict[str, str] = field(default_factory=dict)


class _Forms(HTMLParser):
    """Collects the forms of a page with what their fields hold."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[_Form] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        had = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(_Form(had.get("action", "")))
            self._inside = True
        elif tag == "input" and self._inside and had.get("name"):
            kind = had.get("type", "text")
            if kind not in ("radio", "checkbox") or "checked" in had:
                self.found[-1].fields[had["name"]] = had.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False


class Browser:
    """One signed-in person. Every change goes through a page and its form, as a browser's does."""

    def __init__(self, base: str, login: str, password: str) -> None:
        """Nothing is opened yet."""
        self.login = login
        self._password = password
        self._client = httpx.AsyncClient(
            base_url=base, follow_redirects=True, timeout=15.0, headers={"Origin": base}
        )

    async def __aenter__(self) -> Self:
        """Sign in."""
        await self.sign_in()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def sign_in(self) -> None:
        """Sign in by the form. Raises: StepFailedError when the portal does not take the words."""
        page = await patiently(lambda: self._get("/sign-in"))
        fields = _form(page, "/sign-in", self.login).fields
        fields |= {"login": self.login, "password": self._password}
        answer = await self._post("/sign-in", fields)
        if answer.status_code != 200 or urlsplit(str(answer.url)).path == "/sign-in":
            raise StepFailedError(f"{self.login} cannot sign in: {answer.status_code}")

    async def text(self, path: str) -> str:
        """Return the page at `path`. Raises: StepFailedError on any answer but 200."""
        answer = await patiently(lambda: self._get(path))
        if answer.status_code != 200:
            raise StepFailedError(f"{self.login} opens {path}: {answer.status_code}")
        return answer.text

    async def holds(self, path: str, action: str) -> bool:
        """Tell whether the page at `path` offers the form `action`."""
        return any(form.action == action for form in _forms(await self.text(path)))

    async def send(self, path: str, action: str, **filled: str) -> httpx.Response:
        """
        Open `path`, fill its form `action`, send it; confirm by password when asked to.

        Returns the answer, whatever its status. Raises: StepFailedError when there is no such form.
        """
        answer = await patiently(lambda: self._submit_once(path, action, filled))
        if urlsplit(str(answer.url)).path == "/confirm":
            fields = _form(answer, "/confirm", self.login).fields | {"password": self._password}
            await self._post("/confirm", fields)
            answer = await patiently(lambda: self._submit_once(path, action, filled))
        return answer

    @asynccontextmanager
    async def live(self, usage_point: str) -> AsyncIterator[AsyncIterator[str]]:
        """
        Yield the lines of a usage point's live stream while the block runs.

        Raises: StepFailedError when the portal refuses, OSError when the stream breaks.
        """
        patience = httpx.Timeout(15.0, read=30.0)
        try:
            async with self._client.stream(
                "GET", "/live", params={"point": usage_point}, timeout=patience
            ) as answer:
                if _present(answer).status_code != 200:
                    raise StepFailedError(f"live stream of {usage_point}: {answer.status_code}")
                yield answer.aiter_lines()
        except httpx.TransportError as error:
            raise OSError(f"live stream: {type(error).__name__}") from error

    async def _submit_once(self, path: str, action: str, filled: dict[str, str]) -> httpx.Response:
        """Submit; when the answer is lost, look whether the form is gone before asking again."""
        try:
            return await self._submit(path, action, filled)
        except OSError:
            page = await patiently(lambda: self._get(path))
            if any(form.action == action for form in _forms(page)):
                raise
            return page

    async def _submit(self, path: str, action: str, filled: dict[str, str]) -> httpx.Response:
        page = await self._get(path)
        return await self._post(action, _form(page, action, self.login).fields | filled)

    async def _get(self, path: str) -> httpx.Response:
        try:
            return _present(await self._client.get(path))
        except httpx.TransportError as error:
            raise OSError(f"portal: {type(error).__name__}") from error

    async def _post(self, path: str, fields: dict[str, str]) -> httpx.Response:
        try:
            return _present(await self._client.post(path, data=fields))
        except httpx.TransportError as error:
            raise OSError(f"portal: {type(error).__name__}") from error


def _present(answer: httpx.Response) -> httpx.Response:
    """Return an answer, but for one that only says that the database is just being started."""
    if answer.status_code == _AWAY:
        raise OSError(f"portal: {answer.status_code}")
    return answer


def _forms(page: httpx.Response | str) -> list[_Form]:
    parser = _Forms()
    parser.feed(page if isinstance(page, str) else page.text)
    return parser.found


def _form(page: httpx.Response, action: str, login: str) -> _Form:
    for form in _forms(page):
        if form.action == action:
            return form
    raise StepFailedError(f"{login} finds no form {action} on {page.url.path} ({page.status_code})")
