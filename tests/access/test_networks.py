"""Which addresses are inside the networks of a setting."""

import pytest

from asr_service.access.networks import contains_address, parse_networks
from asr_service.errors import ConfigurationError
from asr_service.settings import load_settings


@pytest.mark.parametrize(
    ("host", "is_inside"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("::2", False),
        ("", False),
        ("unknown", False),
    ],
)
def test_only_this_machine_is_inside_by_default(host, is_inside):
    """Both families count, and IPv4 addresses as a socket for IPv6 reports them."""
    assert contains_address(parse_networks(load_settings({}).metrics_inside), host) is is_inside


@pytest.mark.parametrize("given", ["", "10.0.0.0/99", "10.0.0.1/8", "none,::1", "127.0.0.1;10.0.0.1", "localhost"])
def test_an_invalid_network_is_refused_by_name(given):
    """The message says which part is wrong."""
    with pytest.raises(ConfigurationError, match=r"ASR_METRICS_INSIDE.*is not an address or network"):
        load_settings({}, metrics_inside=given)
