"""`asr-service webhooks`: create a secret, and send a test event to a receiver."""

import secrets
import sys
import time
from typing import Annotated

import anyio
import typer

from asr_service.errors import ConfigurationError
from asr_service.settings import load_settings
from asr_service.webhooks.configuration import webhook_configuration
from asr_service.webhooks.delivery import DeliveryOutcome, deliver
from asr_service.webhooks.events import EventType, build_message
from asr_service.webhooks.signing import new_secret

webhooks_app = typer.Typer(no_args_is_help=True)


@webhooks_app.command("secret")
def secret_command() -> None:
    r"""Print a new secret for ASR_WEBHOOK_SECRET. Receivers need the same one.

    \b
    Examples:
      asr-service webhooks secret

    While receivers change to a new secret, ASR_WEBHOOK_SECRET=NEW,OLD signs each event with both.
    """
    typer.echo(new_secret())


@webhooks_app.command("test")
def test_command(
    url: Annotated[str, typer.Argument(help="URL of the receiver.", show_default=False)],
) -> None:
    r"""Send one signed event of type `transcription.test`, and print what the receiver answered.

    \b
    Examples:
      asr-service webhooks test https://app.example.com/hooks/asr

    The rules are those of the service: HTTPS to public addresses, or a network of ASR_WEBHOOK_ALLOW_NETWORKS. The exit
    code is 1 if the event was not delivered.
    """
    configuration = webhook_configuration(load_settings())
    if not configuration.keys:
        raise ConfigurationError("ASR_WEBHOOK_SECRET is not set. `asr-service webhooks secret` makes one.")
    message = build_message(f"evt_{secrets.token_hex(12)}", url, EventType.TEST, int(time.time()), {})
    attempt = anyio.run(lambda: deliver(message, keys=configuration.keys, allowed=configuration.allowed))
    if attempt.outcome is not DeliveryOutcome.DELIVERED:
        typer.echo(f"Not delivered: {attempt.error}", err=True)
        sys.exit(1)
    typer.echo(f"Delivered in {attempt.seconds:.2f} s, status {attempt.status}.")
