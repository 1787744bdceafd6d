"""The servers, a city for each measurement, the processes that run there, and their cost."""
