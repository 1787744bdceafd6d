"""The documentation that a running Meterhall serves about itself, without the internet.

/docs is Swagger UI, /docs/events the contract of Kafka as a page, /asyncapi.json the same for programs, and /problems/…
explains each `type` of an error. The table of these types is here as well: problems are raised from it.
"""
