"""A page's headers allow its own style and nothing else."""

import base64
import hashlib

import pytest

from chassis.http.pages import SAFE_HEADERS, page_headers


@pytest.mark.parametrize(("has_form", "form_action"), [(True, "'self'"), (False, "'none'")])
def test_the_policy_names_the_style_by_its_hash(has_form: bool, form_action: str) -> None:
    style = "body { color: black }  /* 回单 */\n"
    headers = page_headers(style, has_form=has_form)
    assert SAFE_HEADERS.items() <= headers.items()
    policy = dict(
        each.strip().split(" ", 1) for each in headers["Content-Security-Policy"].split(";")
    )
    kind, digest = policy.pop("style-src").strip("'").split("-", 1)
    assert kind == "sha256"
    assert base64.b64decode(digest) == hashlib.sha256(style.encode()).digest()
    assert policy == {
        "default-src": "'none'",
        "base-uri": "'none'",
        "form-action": form_action,
        "frame-ancestors": "'none'",
    }
