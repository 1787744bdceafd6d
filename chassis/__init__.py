"""The chassis of every service: database, logs, probes, HTTP problems, printed output. No business rules."""
