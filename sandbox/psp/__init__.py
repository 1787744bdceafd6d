"""A payment service provider on a laptop: it speaks Stripe's API over TCP, keeps a durable book, errs on request.

Run it with `python -m sandbox.psp --port 8420 --state DIR`. What it answered it never forgets, kill -9 included.
`/v1/…` is Stripe's API, `/authenticate/…` the page where a payer approves, `/sandbox/…` the strings to pull.
Where it differs from Stripe: alipay and wechat_pay can be captured later, and amounts have no lower limit.
"""
