"""`python -m sandbox.billers --port 8430 --state DIR --data-dir DIR --secrets FILE`: run all billers.

The secrets file is the one that METERHALL_BILLER_SECRETS names: {"<biller>": "<secret>", …}. Port 0 takes a free port;
the first line on standard output is the address.
"""

import json
import sys
from pathlib import Path

from sandbox.billers.app import create_app
from sandbox.billers.biller_list import BILLERS
from sandbox.billers.fresh_accounts import OtherSeedError
from sandbox.stand_in.serve import address, arguments, listen, serve


def main() -> None:
    """Read the command line, listen, serve."""
    parser = arguments("billers", "All billers on your laptop.", port=8430)
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="the folders of billers by file are in here"
    )
    parser.add_argument("--secrets", type=Path, required=True, help="a JSON file {biller: secret}")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same city")
    parser.add_argument("--accounts-per-biller", type=int, default=400)
    options = parser.parse_args()
    try:
        app = create_app(
            options.state,
            options.data_dir,
            _secrets(options.secrets),
            seed=options.seed,
            accounts_per_biller=options.accounts_per_biller,
        )
    except OtherSeedError as error:
        sys.exit(f"{error}; keep it, or take another --state")
    listener = listen(options.host, options.port)
    serve(app, listener, f"http://{address(listener)}")


def _secrets(file: Path) -> dict[str, str]:
    secrets: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    called = [each.id for each in BILLERS if each.settled_by == "call"]
    missing = [biller for biller in called if not secrets.get(biller)]
    if missing:
        sys.exit(f"{file} has no secret for {', '.join(missing)}")
    return secrets


if __name__ == "__main__":
    main()
