"""OpenAI's SDK for Node verifies a delivered webhook: `make clients`, then `pytest -m clients`."""

import json
import subprocess

import pytest

from api.openai.clients.programs import HERE, NODE_MODULES
from asr_service.access.networks import parse_networks
from asr_service.webhooks.delivery import DeliveryOutcome, deliver
from asr_service.webhooks.events import EventType, build_message
from asr_service.webhooks.signing import new_secret, parse_secrets
from webhooks.receiver import receiving

pytestmark = pytest.mark.clients


def unwrap(secret: str, headers: dict[str, str], body: str) -> subprocess.CompletedProcess[str]:
    given = json.dumps({"secret": secret, "headers": headers, "body": body})
    command = ["node", str(HERE / "node" / "webhook.mjs")]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)


async def test_openais_sdk_for_node_verifies_a_delivery() -> None:
    """Unmodified, from the headers and the body that arrived. It refuses a changed body."""
    if not NODE_MODULES.exists():
        pytest.fail(f"{NODE_MODULES} does not exist: make clients")
    secret = new_secret()
    with receiving() as receiver:
        url = f"http://127.0.0.1:{receiver.port}/"
        message = build_message("evt_1", url, EventType.SUCCEEDED, 1, {"id": "job_1", "metadata": {"call": "héllo"}})
        attempt = await deliver(message, keys=parse_secrets(secret), allowed=parse_networks("127.0.0.0/8"))
    assert attempt.outcome is DeliveryOutcome.DELIVERED
    body = receiver.bodies[0].decode()
    result = unwrap(secret, receiver.headers[0], body)
    assert (result.returncode, result.stdout.strip()) == (0, EventType.SUCCEEDED), result.stderr
    changed = unwrap(secret, receiver.headers[0], body.replace("job_1", "job_2"))
    assert changed.returncode != 0
    assert "InvalidWebhookSignatureError" in changed.stderr
