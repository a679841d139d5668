"""The slots, addresses and time-outs that the settings mean for one machine."""

import pytest

from asr_service.deployment.site import Site
from asr_service.errors import ConfigurationError
from asr_service.serving.limits import Timeouts
from asr_service.settings import load_settings


def site(**settings: object) -> Site:
    return Site.of(load_settings({}, **settings))


def test_named_devices_count_as_slots_even_if_this_machine_lacks_them():
    """The slots follow from ASR_DEVICES alone; each of several slots has the socket that the service creates."""
    found = site(devices="cuda:0, cuda:1,cuda:1", socket_dir="/srv/run")
    assert found.n_slots == 3
    assert found.addresses == tuple(f"unix:/srv/run/slot-{slot}.sock" for slot in range(3))
    assert site(devices="cpu,cpu").addresses[0] == "unix:/run/asr-service/slot-0.sock"


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1:8100"), ("0.0.0.0", "127.0.0.1:8100"), ("::", "[::1]:8100"), ("gpu-1", "gpu-1:8100")],
)
def test_a_single_slot_has_the_address_of_the_service(host, address):
    """A wildcard address becomes a loopback address."""
    assert site(devices="cpu", host=host, port=8100).addresses == (address,)


def test_the_time_outs_are_those_of_the_service():
    assert site(devices="cpu", request_timeout_s=60).timeouts == Timeouts.for_request(60)


@pytest.mark.parametrize("settings", [{"devices": "cpu", "port": 0}, {"devices": "gpu:0"}, {"devices": "cpu,,cpu"}])
def test_settings_that_no_file_can_use_are_refused(settings):
    """The causes are a port that is not known yet and an unknown device."""
    with pytest.raises(ConfigurationError):
        site(**settings)
