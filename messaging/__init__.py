"""Sending and receiving through Kafka, without business rules: the machinery of the contract (`events`).

outbox/ writes messages in the transaction that they describe; relay/ publishes them; consumer/ hands batches of
records to handlers and loses none; control/ creates topics, measures lag and replays dead letters. The files beside
these folders are used by several of them.
"""
