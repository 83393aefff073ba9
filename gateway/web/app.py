"""The page's HTTP side: signing in, security headers, the API, and one shell of HTML that the scripts fill."""

import asyncio
import html
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from importlib import resources
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway.errors import StoreError, StoreUnavailable
from gateway.texts import LANGS, load_texts
from gateway.web.api import ENDPOINTS, Endpoint, answer, refusal
from gateway.web.hub import Hub
from gateway.web.openapi import document
from gateway.web.people import SESSION_S, People, PeopleError, User
from gateway.web.settings import WebSettings

log = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
LARGEST_BODY = 65_536
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
PAGES = ("/", "/wall", "/alarms", "/reports", "/audit", "/lock/{site}/{name}", "/berth/{site}/{name}",
         "/history/{site}/{name}")  # fmt: skip
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Page:
    """Routes over a hub and its people."""

    def __init__(self, hub: Hub, people: People, settings: WebSettings) -> None:
        self.hub, self.people, self.settings = hub, people, settings
        self.secure = settings.tls_cert is not None
        self.cookie = "__Host-bollard" if self.secure else "bollard"
        self._static = {
            f.name: f.read_bytes()
            for f in resources.files("gateway.web").joinpath("static").iterdir()
            if "." in f.name
        }

    def app(self) -> "Headers":
        routes = [Route(e.path, self._endpoint(e), methods=[e.method]) for e in ENDPOINTS]
        routes += [
            Route("/openapi.json", self._openapi),
            Route("/static/{name}", self._file),
            Route("/login", self._login_page),
            Route("/login", self._login, methods=["POST"]),
            Route("/logout", self._logout, methods=["POST"]),
            Route("/healthz", lambda _: JSONResponse({"ok": True})),
            *(Route(path, self._shell) for path in PAGES),
        ]
        return Headers(Starlette(routes=routes), self.secure)

    # Who asks

    async def user_of(self, request: Request) -> User | None:
        """The user of a session, of a token, or that a trusted proxy names."""
        header = self.settings.proxy_header
        if header and (name := request.headers.get(header)):
            request.state.still = lambda: self._named(name) is not None
            return await asyncio.to_thread(self._named, name)
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        bearer = kind.lower() == "bearer"
        secret = token.strip() if bearer else request.cookies.get(self.cookie, "")
        request.state.still = lambda: self.people.holds(secret)
        known = self.people.by_secret if bearer else self.people.by_cookie
        return await asyncio.to_thread(known, secret) if secret else None

    def _named(self, name: str) -> User | None:
        return next((u for u in self.people.users() if u.name == name), None)

    def _endpoint(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            if endpoint.method == "POST" and not _same_origin(request):
                return refusal(403, "this request comes from another site's page")
            try:
                user = await self.user_of(request)
            except (StoreError, StoreUnavailable):
                return refusal(503, "the book does not answer, so nobody can be known")
            return await answer(endpoint, self.hub, user, request)

        return handle

    async def _openapi(self, _: Request) -> Response:
        return JSONResponse(document())

    # Pages

    async def _shell(self, request: Request) -> Response:
        token = request.query_params.get("token")
        if request.url.path == "/wall" and token:  # a display that nobody signs in at: its link holds the token
            if not await asyncio.to_thread(self.people.is_wall, token):
                return refusal(403, "this is no token of a wall; make one: bollard user token NAME --wall")
            reply = RedirectResponse("/wall", 303)
            self._remember(reply, token, 10 * 365 * 86_400)
            return reply
        user = await self.user_of(request)
        if user is None:
            return RedirectResponse(f"/login?next={_path(request.url.path)}", 303)
        lang = _lang(request)
        words = {k: v for k, v in load_texts(lang).all().items() if k.startswith(("web.", "number."))}
        me = {"name": user.name, "role": user.role, "sites": list(user.sites)}
        start = {"lang": lang, "words": words, "me": me, "wall": request.url.path == "/wall"}
        return HTMLResponse(_page(lang, words["web.title"], f"""<div id="app"></div>
<script type="application/json" id="start">{_inline(start)}</script>
<script type="module" src="/static/app.js"></script>
<noscript><p>{html.escape(words["web.noscript"])}</p></noscript>"""))  # fmt: skip

    async def _login_page(self, request: Request) -> Response:
        return self._login_form(request, "", 200)

    def _login_form(self, request: Request, wrong: str, status: int) -> Response:
        lang = _lang(request)
        t = load_texts(lang)
        other = "en" if lang == "fr" else "fr"
        back = html.escape(_path(request.query_params.get("next", "/")))
        told = f'<p class="wrong" role="alert">{html.escape(wrong)}</p>' if wrong else ""
        nobody = "" if self.people.users() else f'<p class="hint">{html.escape(t("web.login.nobody"))}</p>'
        body = f"""<main class="login"><h1>bollard</h1>{told}{nobody}
<form method="post" action="/login?next={back}">
<label>{t("web.login.name")}<input name="name" autocomplete="username" autofocus required maxlength="60"></label>
<label>{t("web.login.password")}<input name="password" type="password" autocomplete="current-password" required
 maxlength="1000"></label>
<button>{t("web.login.sign_in")}</button></form>
<p><a href="/login?lang={other}&amp;next={back}" lang="{other}">{load_texts(other)("web.language")}</a></p>
<p class="standing">{html.escape(t("web.standing"))}</p></main>"""
        reply = HTMLResponse(_page(lang, t("web.login.title"), body), status)
        if request.query_params.get("lang") in LANGS:
            reply.set_cookie("lang", lang, max_age=10 * 365 * 86_400, samesite="strict", secure=self.secure)
        return reply

    async def _login(self, request: Request) -> Response:
        if not _same_origin(request):
            return refusal(403, "this request comes from another site's page")
        form = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10)
        name, password = (form.get(field, [""])[0] for field in ("name", "password"))
        t = load_texts(_lang(request))
        address = request.client.host if request.client else ""
        try:
            found = await asyncio.to_thread(self.people.sign_in, name, password, address)
        except PeopleError:
            return self._login_form(request, t("web.login.pause"), 429)
        if found is None:
            return self._login_form(request, t("web.login.wrong"), 401)
        reply = RedirectResponse(_path(request.query_params.get("next", "/")), 303)
        self._remember(reply, found[1], int(SESSION_S))
        return reply

    def _remember(self, reply: Response, secret: str, seconds: int) -> None:
        reply.set_cookie(
            self.cookie, secret, max_age=seconds, httponly=True, samesite="strict", secure=self.secure, path="/"
        )

    async def _logout(self, request: Request) -> Response:
        if not _same_origin(request):
            return refusal(403, "this request comes from another site's page")
        user = await self.user_of(request)
        await asyncio.to_thread(self.people.sign_out, request.cookies.get(self.cookie, ""))
        if user is not None:
            self.hub.sign_off(user.name)
        reply = RedirectResponse("/login", 303)
        reply.delete_cookie(self.cookie, path="/", secure=self.secure)
        return reply

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        found = self._static.get(name)
        if found is None:
            return refusal(404, "no such file")
        kind = TYPES.get("." + name.rpartition(".")[2], "application/octet-stream")
        return Response(found, media_type=kind, headers={"Cache-Control": "no-cache"})


class Headers:
    """Strict headers on every answer; bodies that are too large are not read."""

    def __init__(self, app: Any, secure: bool) -> None:
        self._app = app
        self._headers = dict(HEADERS)
        if secure:
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
        seen = 0

        async def bounded() -> Any:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            return {"type": "http.disconnect"} if seen > LARGEST_BODY else message

        async def with_headers(message: Scope) -> None:
            if message["type"] == "http.response.start":
                given = {k.lower() for k, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (k.encode(), v.encode())
                        for k, v in self._headers.items()
                        if k.lower().encode() not in given
                    ),
                ]
            await send(message)

        if not length.isdigit() or int(length) > LARGEST_BODY:
            reply = refusal(413, f"a body of over {LARGEST_BODY} bytes")
            await reply(scope, bounded, with_headers)
            return
        await self._app(scope, bounded, with_headers)


def _page(lang: str, title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="{lang}"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/page.css"></head><body>
{body}
</body></html>
"""


def _inline(said: Any) -> str:
    """JSON that can stand inside a script element."""
    return json.dumps(said, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")


def _lang(request: Request) -> str:
    """Asked for, remembered, or the browser's if it is one of ours; French else."""
    for text in (request.query_params.get("lang"), request.cookies.get("lang")):
        if text in LANGS:
            return text
    wanted = request.headers.get("accept-language", "").lower()
    return "en" if wanted.startswith("en") else "fr"


def _path(text: str) -> str:
    """A path of this page: never another host's."""
    fine = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text.partition("?")[0].partition("#")[0] if fine else "/"


def _same_origin(request: Request) -> bool:
    """Whether a request that changes something comes from our own page, or from a program with a token."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or origin.rpartition("://")[2] == request.headers.get("host")
