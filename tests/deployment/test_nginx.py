"""Nginx's configuration as text. tests/nginx runs a real Nginx."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asr_service.deployment import NginxOptions, nginx_files
from asr_service.errors import ConfigurationError
from asr_service.jobs.running.wire import MAX_WORK_BYTES
from asr_service.settings import load_settings

ROOT = Path(__file__).parents[2]
PLAIN = NginxOptions(server_name="asr.example.com", certificate=Path("/c.pem"), certificate_key=Path("/k.pem"))


def text_of(options: NginxOptions = PLAIN, **settings: Any) -> str:
    (file,) = nginx_files(load_settings({}, **{"devices": "cpu,cpu"} | settings), options)
    return file.text


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--server-name", {"server_name": "a;b"}),
        ("--certificate", {"certificate": Path("/etc/cert pem")}),
        ("--certificate", {"certificate": Path("relative.pem")}),
        ("--certificate-key", {"certificate_key": Path("/etc/{}")}),
        ("--upstream", {"upstreams": ("gpu-1",)}),
        ("--upstream", {"upstreams": ("gpu-1:80", "gpu-2:80 backup")}),
        ("--machine", {"machines": ("gpu-1:",)}),
        ("--machine", {"machines": ("gpu-1:80",), "upstreams": ("gpu-2:80",)}),
        ("--private-listen", {"private_listen": "10.0.0.1:80; root /"}),
        ("--inside", {"inside": ("10.0.0.0/99",)}),
        ("--inside", {"inside": ("all",)}),
        ("--nginx-version", {"version": "new"}),
        ("--access-log", {"access_log": Path("/var/log/$host")}),
        ("--error-log", {"error_log": Path("error.log")}),
        ("--error-log-level", {"error_log_level": "info"}),
    ],
)
def test_an_option_cannot_add_directives(option, values):
    """An option that would add directives or make the file invalid is refused with its name."""
    with pytest.raises(ConfigurationError, match=option):
        text_of(replace(PLAIN, **values))


@pytest.mark.parametrize("options", [replace(PLAIN, waf=True), replace(PLAIN, machines=("10.0.0.11:8080",))])
def test_the_page_has_every_status_and_code_of_nginx_itself(options):
    """docs/nginx.md has one table of them."""
    rows = re.findall(r"^\| (\d[\d, ]*) \| (`\w+`.*?) \|", (ROOT / "docs/nginx.md").read_text(), re.MULTILINE)
    told = {pair for statuses, codes in rows for pair in zip(statuses.split(", "), codes.split(", "), strict=True)}
    answered = re.findall(r"return (\d+) '.*\"code\": \"(\w+)\"", text_of(options, api_keys_file="/keys"))
    assert len(answered) > 8
    assert {(status, f"`{code}`") for status, code in answered} <= told


@pytest.mark.parametrize(
    ("version", "new"), [("1.22", False), ("1.25.0", False), ("1.25.1", True), ("1.25+", True), ("1.26.3", True)]
)
def test_http2_has_the_syntax_of_the_version(version, new):
    """Nginx 1.25.1 introduced the directive, and later versions warn about the parameter."""
    text = text_of(replace(PLAIN, version=version))
    assert ("http2 on;" in text) is new
    assert (" http2;" in text) is not new


def test_the_proxy_waits_longer_than_the_service():
    """The service's own 504 comes first. Fractions of a second are kept."""
    assert "proxy_read_timeout 75500ms;" in text_of(request_timeout_s=60.5)
    assert "proxy_read_timeout 315s;" in text_of()


def test_the_proxy_waits_longer_than_a_request_for_a_job():
    """`?wait=60` is answered and a stream of events has time for its keep-alive, however short other requests are."""
    assert "proxy_read_timeout 75s;" in text_of(request_timeout_s=10)


@pytest.mark.parametrize(
    ("server_name", "is_sent"),
    [
        ("asr.example.com", True),
        ("ASR.Example.DE", True),
        ("localhost", False),
        ("gpu-1", False),
        ("asr.local", False),
        ("asr.localhost", False),
        ("asr.internal", False),
        ("asr.home.arpa", False),
        ("asr.lan", False),
        ("192.168.1.20", False),
    ],
)
def test_hsts_is_sent_for_public_host_names_unless_an_option_says_otherwise(server_name, is_sent):
    """For two years a browser would refuse plain HTTP from every application of a machine called localhost."""
    header = "Strict-Transport-Security"
    by_default = replace(PLAIN, server_name=server_name)
    assert (f"add_header {header}" in text_of(by_default)) is is_sent
    assert f"add_header {header}" in text_of(replace(by_default, hsts=True))
    assert f"add_header {header}" not in text_of(replace(by_default, hsts=False))
    assert header not in text_of(replace(by_default, hsts=True, private_listen="10.0.0.1:8080"))


@pytest.mark.parametrize(("runner", "more_bytes"), [("slots", 0), ("workers", MAX_WORK_BYTES)])
def test_job_workers_may_send_more_than_an_upload(runner, more_bytes):
    """A 413 would end the job: the segments of an interrupted run follow its recording."""
    text = text_of(jobs_runner=runner, max_upload_bytes=1000)
    assert re.findall(r"client_max_body_size (\d+);", text) == [str(1000 + more_bytes)]
    assert "larger than 1000 bytes" in text


def test_requests_about_jobs_go_to_one_machine_only_if_it_keeps_them():
    """With a Redis, any machine has any job."""
    machines = replace(PLAIN, machines=("10.0.0.11:8080", "10.0.0.12:8080"))
    assert "asr_slots_by_caller" in text_of(machines)
    assert "asr_slots_by_caller" not in text_of(machines, jobs_url="redis://redis.example.com")
