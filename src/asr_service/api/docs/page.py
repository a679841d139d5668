"""/docs: the interactive API page. Its assets come from this package's dependencies, so it needs no other host."""

import re
from base64 import b64encode
from hashlib import sha256
from importlib import resources
from pathlib import Path

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse, HTMLResponse
from starlette.types import Receive, Scope, Send

router = APIRouter(include_in_schema=False)

_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "favicon.png": "image/png"}


@router.get("/docs")
async def docs() -> HTMLResponse:
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="asr-service",
        swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css",
        swagger_favicon_url="/docs/favicon.png",
        swagger_ui_parameters={"validatorUrl": None},  # the default sends the document to a public validator
    )
    page.headers["content-security-policy"] = _content_security_policy(bytes(page.body))
    return page


def _content_security_policy(page: bytes) -> str:
    """Allow the page's inline script by its hash, the assets of this service, and the styles that the script sets."""
    scripts = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    hashes = " ".join(f"'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in scripts)
    return (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class _WholeFile(FileResponse):
    """Ignores Range headers. Starlette's response to an invalid range does not have the shape of our errors."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


def _serve_asset(name: str, media_type: str) -> None:
    path = Path(str(resources.files("fastapi_offline"))) / "static" / name

    @router.get(f"/docs/{name}", name=name)
    async def asset() -> FileResponse:
        return _WholeFile(path, media_type=media_type, headers={"cache-control": "public, max-age=86400"})


for _name, _media_type in _ASSETS.items():
    _serve_asset(_name, _media_type)
