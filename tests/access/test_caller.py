"""Which requests have the same caller."""

import pytest

from asr_service.access.caller import UNKNOWN_CALLER, identify_caller
from asr_service.access.keys import Key

ALICE, BOB = Key("alice", b"a"), Key("bob", b"b")


@pytest.mark.parametrize(
    ("host", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8:0:0:ffff::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        (None, None, True),
        (None, "made up", True),
    ],
)
def test_a_caller_without_a_key_is_an_address(host, other, is_same):
    """An IPv6 client has a network of 64 bits to itself. Texts that are no addresses make no callers."""
    assert (identify_caller(None, host) == identify_caller(None, other)) is is_same


def test_a_key_is_a_caller_from_any_address():
    """Two keys are two callers, also from one address."""
    assert identify_caller(ALICE, "192.0.2.1") == identify_caller(ALICE, "2001:db8::1")
    assert len({identify_caller(key, "192.0.2.1") for key in (ALICE, BOB, None)}) == 3
    assert identify_caller(None, None) == UNKNOWN_CALLER
