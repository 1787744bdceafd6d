"""Content negotiation: the language, and a page or JSON."""

from collections.abc import Iterator

from fastapi import Request

from services.billing.receipts.page import Language


def language_of(http: Request, requested: str | None) -> Language:
    """Return the language of `?lang=`, or else the browser's first language that we have."""
    # Chinese is the default; English is for those who request it.
    for each in (requested or "", *_by_quality(http.headers.get("accept-language", ""))):
        match each.partition("-")[0].strip().lower():
            case "zh":
                return "zh-CN"
            case "en":
                return "en"
    return "zh-CN"


def wants_json(http: Request) -> bool:
    """Return True when JSON is preferred to HTML; without a preference the response is HTML."""
    for each in _by_quality(http.headers.get("accept", "")):
        if each in {"application/json", "application/problem+json"}:
            return True
        if each in {"text/html", "application/xhtml+xml", "text/*", "*/*"}:
            return False
    return False


def _by_quality(header: str) -> Iterator[str]:
    # The values of an Accept header in the order of preference (RFC 9110 §12.4.2).
    weighed: list[tuple[float, str]] = []
    for item in header.split(",")[:20]:
        value, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        if quality > 0:
            weighed.append((quality, value))
    weighed.sort(key=lambda pair: -pair[0])
    return (value for _, value in weighed)
