"""Headers of pages that are complete in themselves: no script, no request to anywhere, one style of our own."""

from base64 import b64encode
from hashlib import sha256

# Headers of every response that a browser may open.
SAFE_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def page_headers(style: str, *, has_form: bool) -> dict[str, str]:
    """Return the headers of a page with this style element: nothing may be loaded and nothing may frame the page.

    The policy names the style by its hash (CSP Level 2, style-src); a form may only come back to us.
    """
    style_hash = b64encode(sha256(style.encode()).digest()).decode()
    form = "'self'" if has_form else "'none'"
    return {
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{style_hash}'; base-uri 'none'; "
        f"form-action {form}; frame-ancestors 'none'",
        **SAFE_HEADERS,
    }
