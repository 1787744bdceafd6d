"""`python -m sandbox.mailbox --smtp-port 8425 --port 8426 --state DIR`: run the mail box until it is stopped.

Port 0 takes a free port; the first line on standard output has both addresses: `http://… smtp://…`.
"""

from sandbox.mailbox.app import create_app
from sandbox.stand_in.serve import address, arguments, listen, serve


def main() -> None:
    """Read the command line, listen, serve."""
    parser = arguments("mailbox", "A mail box on your laptop.", port=8426)
    parser.add_argument("--smtp-port", type=int, default=8425, help="SMTP; 0 takes a free one")
    options = parser.parse_args()
    smtp, http = listen(options.host, options.smtp_port), listen(options.host, options.port)
    app = create_app(options.state, smtp)
    serve(app, http, f"http://{address(http)} smtp://{address(smtp)}")


if __name__ == "__main__":
    main()
