"""Read a whole list of the PSP, page by page. Unlike a search, a list does not lag: an item not on it does not exist."""

from collections.abc import Callable

from services.billing.psp.outcomes import Unknown
from services.billing.psp.transport import Params, Request, Transport
from services.billing.psp.wire import Item, WireError, WirePage

# Stripe's largest page.
_PAGE = "100"
# Two million lines: many days of a busy account. A longer list means that the PSP repeats its pages.
_MOST_PAGES = 20_000


async def listed(
    transport: Transport,
    operation: str,
    path: str,
    params: Params,
    *,
    shape: type[WirePage[Item]],
    wanted: Callable[[Item], bool] = lambda _: True,
) -> list[Item] | Unknown:
    """Return the wanted items of all pages, newest first; Unknown when a page is missing."""
    items: list[Item] = []
    after: Params = []
    for _ in range(_MOST_PAGES):
        request = Request(operation, "GET", path, [*params, ("limit", _PAGE), *after])
        page = await transport.send(request, shape)
        if isinstance(page, WireError):
            return no_state(page)
        if isinstance(page, Unknown):
            return page
        items += filter(wanted, page.data)
        if not page.has_more:
            return items
        cursor = [("starting_after", page.data[-1].id)] if page.data else after
        if cursor == after:
            return Unknown("endless: there is more, but the page did not move on")
        after = cursor
    return Unknown(f"endless: there is more after {_MOST_PAGES} pages")


def no_state(error: WireError) -> Unknown:
    """Return Unknown for a query that the PSP refuses."""
    return Unknown(f"rejected: {error.code or error.type}: {error.message}")
