"""PostgreSQL and Kafka from pip, processes and their ports on this machine, without Docker."""
