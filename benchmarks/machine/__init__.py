"""The machine room: servers and a city for each measurement, the processes that run there, and what they cost."""
