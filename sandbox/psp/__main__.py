"""`python -m sandbox.psp --port 8420 --state DIR`: run the PSP until it is stopped.

The API key and the webhook secret come from METERHALL_PSP_API_KEY and METERHALL_PSP_WEBHOOK_SECRET.
Port 0 takes a free port; the first line on standard output is the address.
"""

import os
import sys

from sandbox.psp.app import Secrets, create_app
from sandbox.stand_in.serve import address, arguments, listen, serve


def main() -> None:
    """Read the command line, listen, serve."""
    parser = arguments("psp", "A PSP on your laptop.", port=8420)
    parser.add_argument("--public-url", help="where payers reach its pages, when not at host:port")
    parser.add_argument("--webhook-url", help="where events are sent")
    parser.add_argument("--seed", type=int, help="the same seed draws the same ids")
    parser.add_argument(
        "--search-lag-seconds", type=int, help="how old a payment must be to be found; 60 at first"
    )
    options = parser.parse_args()
    secrets = Secrets(_secret("METERHALL_PSP_API_KEY"), _secret("METERHALL_PSP_WEBHOOK_SECRET"))
    listener = listen(options.host, options.port)
    url = options.public_url or f"http://{address(listener)}"
    app = create_app(
        options.state,
        url,
        secrets,
        webhook_url=options.webhook_url,
        seed=options.seed,
        search_lag_seconds=options.search_lag_seconds,
    )
    serve(app, listener, url)


def _secret(name: str) -> str:
    found = os.environ.get(name)
    if not found:
        sys.exit(f"{name} must be set: the PSP and its callers share it")
    return found


if __name__ == "__main__":
    main()
