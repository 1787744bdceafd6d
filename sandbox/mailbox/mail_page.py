"""The pages of the mail box: the list, and one mail with its page in a sandboxed frame."""

from datetime import datetime
from html import escape
from typing import Any

_STYLE = """
body{margin:0 auto;max-width:62rem;padding:1.5rem 1rem;
font:15px/1.5 system-ui,"PingFang SC","Noto Sans CJK SC",sans-serif;
color:#16202a;background:#f2f4f7}
h1{font-size:1.3rem}a{color:#0b5d8f}table{width:100%;border-collapse:collapse;background:#fff}
th,td{padding:.5rem .7rem;text-align:left;border-bottom:1px solid #dde3e9;vertical-align:top;overflow-wrap:anywhere}
th{color:#5b6875;font-weight:500}pre{padding:1rem;background:#fff;white-space:pre-wrap;overflow-wrap:anywhere}
iframe{width:100%;height:34rem;border:1px solid #dde3e9;background:#fff}time{white-space:nowrap}
"""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
# A mail's page is foreign content: no script, no request, no form, no way out of its frame.
MAIL_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:",
}


def list_page(count: int, mails: list[dict[str, Any]]) -> str:
    """The newest mails."""
    rows = "".join(
        f"<tr><td>{_time(each)}</td><td>{escape(each['to'])}</td>"
        f'<td><a href="/mails/{each["number"]}">{escape(each["subject"]) or "(no subject)"}</a></td></tr>'
        for each in mails
    )
    shown = f"the newest {len(mails)} of {count}" if count > len(mails) else str(count)
    table = (
        f"<table><thead><tr><th>Received</th><th>To</th><th>Subject</th></tr></thead><tbody>{rows}</tbody></table>"
        if mails
        else "<p>No mail yet.</p>"
    )
    return _page("Mail box", f"<h1>Mail box: {shown} mails</h1>{table}")


def mail_page(mail: dict[str, Any]) -> str:
    """One mail."""
    headers = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in mail["headers"]
    )
    number = mail["number"]
    frame = (
        f'<h2>Page</h2><iframe sandbox title="The mail\'s page" src="/mails/{number}/html"></iframe>'
        if mail["html"] is not None
        else ""
    )
    return _page(
        mail["subject"] or "(no subject)",
        f'<p><a href="/">All mails</a> · <a href="/mails/{number}/raw">As it came</a></p>'
        f"<h1>{escape(mail['subject']) or '(no subject)'}</h1><p>{_time(mail)} to {escape(mail['to'])}</p>"
        f"{frame}<h2>Text</h2><pre>{escape(mail['body'])}</pre>"
        f"<h2>Headers</h2><table>{headers}</table>",
    )


def _time(mail: dict[str, Any]) -> str:
    at = datetime.fromisoformat(mail["received_at"])
    return f'<time datetime="{at.isoformat()}">{at:%Y-%m-%d %H:%M:%S} UTC</time>'


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )
