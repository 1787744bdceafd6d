"""The signature of a webhook: `Meterhall-Signature: t=<unix seconds>,v1=<hex>[,v1=<hex>]`.

Each v1 is the HMAC-SHA256 of `<t>.<body>` with one secret of the channel, over the bytes of the body as they are
sent. While a secret is being changed there are two, and either may match. The receiver compares in constant time and
refuses a `t` that is more than five minutes off. The scheme is Stripe's, so the checks of its libraries can be used.
"""

import hashlib
import hmac
from collections.abc import Sequence

HEADER = "Meterhall-Signature"


def sign(body: bytes, secrets: Sequence[str], at: int) -> str:
    """Return the header's value. `at` is Unix seconds; the newest secret comes first."""
    signed = b"%d." % at + body
    signatures = (hmac.new(each.encode(), signed, hashlib.sha256).hexdigest() for each in secrets)
    return ",".join([f"t={at}", *(f"v1={each}" for each in signatures)])
