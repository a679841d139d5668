"""The page at /, for people with a browser, and its files at /page/VERSION/PATH.

The page calls nothing but the documented API. Its own files have the version in their path, so browsers keep them for a
year and still get new ones after an update. No route needs an API key: the page asks for one and sends it to the API.
"""

import json
from html import escape
from string import Template
from typing import Final

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from asr_service.api.page.assets import Assets, etag, page_assets
from asr_service.api.public_prefix import public_prefix
from asr_service.engine.slot import SlotEngine

router = APIRouter(include_in_schema=False)

FILES: Final = "/page/"
"""The path before those of the page's files."""
_NOT_FOUND: Final = 404
_FOREVER: Final = "public, max-age=31536000, immutable"
_CHECK_FIRST: Final = "no-cache"
_CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("/")
async def page(request: Request) -> Response:
    """Return the page to a browser. For other clients this path does not exist."""
    engine: SlotEngine = request.app.state.engine
    if not engine.settings.page or "text/html" not in request.headers.get("accept", ""):
        raise HTTPException(_NOT_FOUND)
    body = _html(request, page_assets()).encode()
    headers = {"content-security-policy": _CONTENT_SECURITY_POLICY, "vary": "Accept"}
    return _cacheable(request, body, "text/html; charset=utf-8", etag(body), _CHECK_FIRST, headers)


@router.get(FILES + "{version}/{path:path}")
async def page_file(request: Request) -> Response:
    """Return a file of the page. The file of another version, as a page asks for during an update, is not kept."""
    engine: SlotEngine = request.app.state.engine
    assets = page_assets()
    asset = assets.files.get(request.path_params["path"])
    if asset is None or not engine.settings.page:
        raise HTTPException(_NOT_FOUND)
    caching = _FOREVER if request.path_params["version"] == assets.version else _CHECK_FIRST
    return _cacheable(request, asset.body, asset.media_type, asset.etag, caching, {})


def _cacheable(
    request: Request, body: bytes, media_type: str, tag: str, caching: str, headers: dict[str, str]
) -> Response:
    headers = {"etag": tag, "cache-control": caching} | headers
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)


def _html(request: Request, assets: Assets) -> str:
    settings = request.app.state.engine.settings
    # Absolute if the public path is known: /asr may have been requested without the slash that relative links need.
    folder = f"{public_prefix(request)}{FILES}{assets.version}/".removeprefix("" if public_prefix(request) else "/")
    facts = {
        "name": settings.page_name or "",
        "note": settings.page_note or "",
        "locales": " ".join(assets.locales),
        "jobs": json.dumps(request.app.state.jobs is not None),
        "keys": json.dumps(request.app.state.needs_key),
        "max-upload-bytes": str(settings.max_upload_bytes),
        "max-audio-s": str(settings.max_audio_s),
    }
    return Template(assets.template).substitute(
        folder=folder,
        title=escape(settings.page_name or "asr-service"),
        facts=" ".join(f'data-{name}="{escape(value)}"' for name, value in facts.items()),
        preloads="\n".join(
            f'<link rel="modulepreload" href="{folder}{path}">' for path in assets.files if _is_module(path)
        ),
    )


def _is_module(path: str) -> bool:
    """Return whether the page imports the file when it opens.

    Worklets are loaded in threads of their own, and libraries when they are used.
    """
    is_library = path.startswith("vendor/") or path == "editor/export/docx.js"
    return path.endswith(".js") and not path.endswith("-worklet.js") and not is_library
