"""The page where a payer approves or refuses a payment, in Chinese and English."""

import html
from urllib.parse import urlencode

from sandbox.psp.provider import Provider
from sandbox.psp.psp_store import Object

_PAGE = """<!doctype html>
<html lang="zh-CN"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
 body {{ font: 16px/1.5 system-ui, sans-serif; margin: 0; background: #f4f5f7; color: #1d2433 }}
 main {{ max-width: 26rem; margin: 12vh auto 0; padding: 2rem; background: #fff; border-radius: 12px }}
 .amount {{ font-size: 2rem; margin: .5rem 0 1.5rem }}
 button {{ font: inherit; width: 100%; padding: .8rem; margin: .3rem 0; border-radius: 8px;
   border: 1px solid #1f6feb; background: #fff; color: #1f6feb; cursor: pointer }}
 button.yes {{ background: #1f6feb; color: #fff }}
 small {{ color: #5b6474 }}
</style></head><body><main>{main}</main></body></html>"""

_ASK = """<h1>确认付款 · Approve payment</h1>
<p class="amount">{currency} {amount}</p>
<form method="post">
<button class="yes" name="decision" value="approve">同意 · Approve</button>
<button name="decision" value="refuse">拒绝 · Refuse</button>
</form><p><small>沙箱支付机构 · sandbox PSP · {id}</small></p>"""

_DONE = """<h1>{title}</h1><p>{text}</p><p><small>{id}</small></p>"""


def find(provider: Provider, client_secret: str) -> Object | None:
    """The intent whose page this is."""
    intent_id = client_secret.partition("_secret_")[0]
    intent = provider.store.find("payment_intent", intent_id)
    return intent if intent and intent["client_secret"] == client_secret else None


def page(intent: Object | None) -> str:
    """Return the page that the payer sees."""
    if intent is None:
        main = _DONE.format(title="没有这笔付款 · No such payment", text="", id="")
    elif intent["status"] == "requires_action":
        main = _ASK.format(
            currency=html.escape(intent["currency"].upper()),
            amount=amount(intent["amount"], intent["currency"]),
            id=html.escape(intent["id"]),
        )
    else:
        paid = intent["status"] in {"requires_capture", "succeeded"}
        main = _DONE.format(
            title="已同意 · Approved" if paid else "未付款 · Not paid",
            text="可以关闭此页。You can close this page.",
            id=html.escape(intent["id"]),
        )
    return _PAGE.format(title="付款 · Payment", main=main)


def back(intent: Object, return_url: str) -> str:
    """Return the URL to which the payer is sent afterwards, with Stripe's parameters."""
    paid = intent["status"] in {"requires_capture", "succeeded"}
    query = urlencode(
        {
            "payment_intent": intent["id"],
            "redirect_status": "succeeded" if paid else "failed",
        }
    )
    return f"{return_url}{'&' if '?' in return_url else '?'}{query}"


def amount(minor: int, currency: str) -> str:
    """For people: 8850 as 88.50."""
    if currency in {"jpy", "krw", "vnd"}:
        return str(minor)
    return f"{minor // 100}.{minor % 100:02d}"
