"""Print segments as they become known, with httpx: python httpx_stream.py RECORDING."""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

if len(sys.argv) != 2:
    sys.exit(__doc__)
SERVICE = os.environ.get("SERVICE", "http://127.0.0.1:8000")
HEADERS = {"Authorization": f"Bearer {os.environ['ASRSERVICE_API_KEY']}"} if "ASRSERVICE_API_KEY" in os.environ else {}


def lines(recording: Path) -> Iterator[dict[str, Any]]:
    """Yield each line of the response. Try again if the service is busy."""
    timeout = httpx.Timeout(10, read=600)  # between two lines; a whole recording may take hours
    with recording.open("rb") as file, httpx.Client(base_url=SERVICE, headers=HEADERS, timeout=timeout) as client:
        while True:
            file.seek(0)
            fields = {"response_format": "ndjson"}
            with client.stream("POST", "/transcribe", files={"file": file}, data=fields) as response:
                if response.status_code in {429, 503}:
                    time.sleep(float(response.headers.get("retry-after", 5)))
                    continue
                if response.is_error:
                    sys.exit(json.loads(response.read())["error"]["message"])
                yield from map(json.loads, response.iter_lines())
                return


kind = None
for line in lines(Path(sys.argv[1])):
    kind = line["type"]
    if kind == "segment":
        print(f"{line['start']:8.2f} {line['end']:8.2f} {line['text'].strip()}", flush=True)
    elif kind == "error":  # the status 200 was sent before the failure
        sys.exit(line["error"]["message"])
    elif kind == "transcript":
        print(f"{line['duration']:.1f} s in {line['language']}, {line['timing']['total_ms'] / 1000:.1f} s of work")
if kind != "transcript":
    sys.exit("The response ended early.")
