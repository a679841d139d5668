"""The settings of webhooks."""

from dataclasses import dataclass, field

from asr_service.access.networks import Network, parse_networks
from asr_service.errors import ConfigurationError
from asr_service.settings import Settings
from asr_service.webhooks.signing import parse_secrets


@dataclass(frozen=True, slots=True)
class WebhookConfiguration:
    """The keys that sign messages, and the networks that may be called although they are not public.

    Without keys, no message is sent.
    """

    keys: tuple[bytes, ...] = field(repr=False)
    allowed: tuple[Network, ...]


def webhook_configuration(settings: Settings) -> WebhookConfiguration:
    """Read ASR_WEBHOOK_SECRET and ASR_WEBHOOK_ALLOW_NETWORKS. Raises ConfigurationError: when a secret is invalid."""
    secrets, networks = settings.webhook_secret, settings.webhook_allow_networks
    try:
        keys = parse_secrets(secrets.get_secret_value()) if secrets is not None else ()
    except ValueError as error:
        raise ConfigurationError(f"ASR_WEBHOOK_SECRET: {error}.", param="ASR_WEBHOOK_SECRET") from None
    return WebhookConfiguration(keys, parse_networks(networks) if networks is not None else ())
