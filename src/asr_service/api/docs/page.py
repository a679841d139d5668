"""/docs: the interactive API page, and /openapi.json, its document.

Its assets come from this package's dependencies, so it needs no other host. Its links are relative, so it works under
any path that a proxy gives to the service.
"""

import re
from base64 import b64encode
from hashlib import sha256
from importlib import resources
from pathlib import Path
from string import Template

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse
from starlette.types import Receive, Scope, Send

from asr_service.api.public_prefix import public_prefix

router = APIRouter(include_in_schema=False)

_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "favicon.png": "image/png"}

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>asr-service</title>
<link rel="stylesheet" href="${assets}swagger-ui.css">
<link rel="icon" href="${assets}favicon.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="${assets}swagger-ui-bundle.js"></script>
<script>
// Swagger UI fills every field of a form with an invented value, such as `string`. Leave a field empty instead, unless
// the document has a default or an example for it.
const emptyFields = {
  afterLoad(system) {
    const sample = system.fn.getSampleSchema;
    system.fn.getSampleSchema = (given, ...rest) => {
      const schema = given && given.toJS ? given.toJS() : given || {};
      const isField = ["string", "number", "integer", "boolean"].includes(schema.type) || schema.anyOf || schema.oneOf;
      if ("default" in schema || "example" in schema || "examples" in schema || schema["$$ref"]) {
        return sample(given, ...rest);
      }
      return schema.type === "array" && schema.items && schema.items.type === "string" ? "[]" :
        isField ? "" : sample(given, ...rest);
    };
  },
};
const ui = SwaggerUIBundle({
  url: "${top}openapi.json",
  dom_id: "#swagger-ui",
  plugins: [emptyFields],
  deepLinking: true,
  showCommonExtensions: true,
  validatorUrl: null,  // the default sends the document to a public validator
});
</script>
</body>
</html>
""")


@router.get("/openapi.json")
async def document(request: Request) -> JSONResponse:
    """Return the OpenAPI document, with the address of the service as this client sees it."""
    return JSONResponse({**request.app.openapi(), "servers": [{"url": public_prefix(request) or "."}]})


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    # The path as it was sent: with a slash at its end, relative links begin one level deeper.
    assets, top = ("", "../") if request.scope["raw_path"].endswith(b"/") else ("docs/", "")
    page = HTMLResponse(_PAGE.substitute(assets=assets, top=top))
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
