"""What goes wrong in a city and in the world around it, and what a wallet asks for meanwhile."""
