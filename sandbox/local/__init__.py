"""What runs on this machine: a PostgreSQL and a Kafka from pip, processes and their ports, and no Docker."""
