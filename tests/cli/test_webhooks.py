"""`asr-service webhooks secret` and `webhooks test`."""

from cli.terminal import run
from webhooks.receiver import receiving


def test_a_new_secret_signs_an_event_that_arrives(tmp_path):
    """The secret is fit for ASR_WEBHOOK_SECRET as it is printed, and another one is printed the next time."""
    secret, other = (run("webhooks", "secret", cwd=tmp_path).stdout.strip() for _ in range(2))
    assert secret != other
    settings = {"ASR_WEBHOOK_SECRET": f"{secret},{other}", "ASR_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8"}
    with receiving() as receiver:
        result = run("webhooks", "test", f"http://127.0.0.1:{receiver.port}/", cwd=tmp_path, **settings)
        assert result.returncode == 0, result.stderr
        assert b"transcription.test" in receiver.bodies[0]
        receiver.status = 404
        result = run("webhooks", "test", f"http://127.0.0.1:{receiver.port}/", cwd=tmp_path, **settings)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "Not delivered: The receiver answered with status 404.\n"


def test_an_invalid_secret_ends_with_the_setting_and_the_way_out(tmp_path):
    for secret, problem in (("", "is not set"), ("secret", "expected `whsec_`")):
        result = run("webhooks", "test", "https://example.com/", cwd=tmp_path, ASR_WEBHOOK_SECRET=secret)
        assert result.returncode == 78
        assert "ASR_WEBHOOK_SECRET" in result.stderr
        assert problem in result.stderr
        assert "asr-service webhooks secret" in result.stderr
