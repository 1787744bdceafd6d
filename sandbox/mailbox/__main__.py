"""`python -m sandbox.mailbox --smtp-port 8425 --port 8426 --state DIR`: run the mail box until it is told to stop.

Port 0 takes a free port; the first line on standard output tells both addresses: `http://… smtp://…`.
"""

from sandbox.mailbox.app import create_app
from sandbox.stand_in.serve import address, arguments, listen, serve


def main() -> None:
    """Read the command line, listen, serve."""
    parser = arguments("mailbox", "A mail box on your laptop.", port=8426)
    parser.add_argument("--smtp-port", type=int, default=8425, help="SMTP; 0 takes a free one")
    asked = parser.parse_args()
    smtp, http = listen(asked.host, asked.smtp_port), listen(asked.host, asked.port)
    app = create_app(asked.state, smtp)
    serve(app, http, f"http://{address(http)} smtp://{address(smtp)}")


if __name__ == "__main__":
    main()
