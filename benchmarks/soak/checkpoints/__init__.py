"""What is looked at while a soak runs: a row each minute, what is watched each second, and slopes over the rows."""
