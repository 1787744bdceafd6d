"""The measurements during a soak: a row per minute, a watch per second, and slopes over the rows."""
